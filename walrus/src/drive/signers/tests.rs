//! The memory of signers against a cloud controller that counts, changes its mind and goes away.

use super::remote::TOKEN_CHARS_MAX;
use super::{
    AccountFacts, AccountName, AuthFault, Authenticator, Remote, UserCertificate, Who, canonical_id,
};
use async_trait::async_trait;
use karri_proto::internal::signers::{
    SecretText, SessionAsked, SessionFacts, SignerRecord, SignerService, SignersVersion, Told,
};
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::revoked::{Fingerprint, Revoked};
use karri_proto::runtime::server::{ShutdownTrigger, shutdown_pair};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const LONG: Duration = Duration::from_secs(3600);
/// A change must be heard by then.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
const ANN: &str = "AKIAANN0000000000000";
const BOB: &str = "AKIABOB0000000000000";
const TEMPORARY: &str = "ASIAANN0000000000000";
const NEVER_OVER: i64 = i64::MAX / 2_000_000;

#[derive(Default)]
struct Controller {
    state: Mutex<State>,
    changed: Notify,
    asked: AtomicUsize,
}

#[derive(Default)]
struct State {
    version: i64,
    keys: BTreeSet<String>,
    /// Ann's session tokens, and until when they are good.
    sessions: BTreeMap<String, i64>,
    away: bool,
    slow: Duration,
    revoked: Option<Vec<String>>,
}

impl Controller {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state);
        state.version += 1;
        drop(state);
        self.changed.notify_waiters();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn answer<T>(&self, find: impl FnOnce(&State) -> Option<T>) -> Result<Told<T>, ApiError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (slow, told) = {
            let state = self.state.lock().unwrap();
            let told = Told { version: state.version, found: find(&state) };
            (state.slow, if state.away { Err(ApiError::unreachable("away")) } else { Ok(told) })
        };
        tokio::time::sleep(slow).await; // what the test is about
        told
    }
}

fn facts() -> AccountFacts {
    AccountFacts::new("111122223333", "physics", Some("ada@example.org"))
}

fn record(key: &str) -> SignerRecord {
    let who = Who {
        account: facts(),
        user: "ann".into(),
        user_id: "AIDA1".into(),
        arn: "arn:aws:iam::111122223333:user/ann".into(),
        administrator: false,
        root: true,
    };
    SignerRecord {
        access_key_id: key.into(),
        who,
        secret_access_key: SecretText("secret".into()),
        session: None,
        policies: vec![r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#.into()],
    }
}

#[async_trait]
impl SignerService for Controller {
    async fn signer_session(&self, _: &Caller, asked: &SessionAsked) -> Result<Told<SignerRecord>, ApiError> {
        self.answer(|state| {
            let expires_unix_ms = *state.sessions.get(&asked.session_token.0)?;
            let session =
                SessionFacts { issued_unix_ms: 0, expires_unix_ms, federated: false, policies: None };
            let known = asked.access_key_id == TEMPORARY && state.keys.contains(ANN);
            known.then(|| SignerRecord { session: Some(session), ..record(TEMPORARY) })
        })
        .await
    }

    async fn signer(&self, _: &Caller, key: &str) -> Result<Told<SignerRecord>, ApiError> {
        self.answer(|state| state.keys.contains(key).then(|| record(key))).await
    }

    async fn signer_account(&self, _: &Caller, name: &AccountName) -> Result<Told<AccountFacts>, ApiError> {
        let known = [
            AccountName::Id("111122223333".into()),
            AccountName::Canonical(canonical_id("111122223333")),
            AccountName::Email("ada@example.org".into()),
        ];
        self.answer(|_| known.contains(name).then(facts)).await
    }

    async fn signer_certificates(
        &self,
        _: &Caller,
        account: &str,
    ) -> Result<Told<Vec<UserCertificate>>, ApiError> {
        let one = UserCertificate { id: "C".into(), user: "ann".into(), pem: "PEM".into() };
        self.answer(|_| (account == "111122223333").then(|| vec![one])).await
    }

    async fn signer_user(&self, _: &Caller, account: &str, user: &str) -> Result<Told<String>, ApiError> {
        let known = (account, user) == ("111122223333", "ann");
        self.answer(|_| known.then(|| "AIDA1".to_owned())).await
    }

    async fn signers_version(
        &self,
        _: &Caller,
        known: i64,
        wait: Duration,
    ) -> Result<SignersVersion, ApiError> {
        let changed = self.changed.notified();
        let (version, away) = {
            let state = self.state.lock().unwrap();
            (state.version, state.away)
        };
        if away {
            return Err(ApiError::unreachable("away"));
        }
        if version == known {
            let _ = tokio::time::timeout(wait, changed).await;
        }
        let state = self.state.lock().unwrap();
        if state.away {
            Err(ApiError::unreachable("away"))
        } else {
            Ok(SignersVersion { version: state.version, revoked: state.revoked.clone() })
        }
    }
}

/// A controller that knows Ann, and a Walrus that listens to it; dropping the trigger ends the loop.
fn start(silence_max: Duration) -> (Arc<Controller>, Arc<Remote>, ShutdownTrigger) {
    let nothing = Revoked::load(&std::env::temp_dir().join("karri-none")).unwrap();
    start_with(silence_max, &nothing)
}

fn start_with(silence_max: Duration, revoked: &Revoked) -> (Arc<Controller>, Arc<Remote>, ShutdownTrigger) {
    let controller = Arc::new(Controller::default());
    controller.change(|state| state.keys.extend([ANN.to_owned()]));
    let caller = Caller { identity: Identity::new(Role::Walrus, "", "walrus"), request_id: String::new() };
    let remote = Remote::new(controller.clone(), caller, silence_max);
    let (trigger, shutdown) = shutdown_pair();
    tokio::spawn(remote.clone().listen(revoked.clone(), shutdown));
    (controller, remote, trigger)
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < HEARD_WITHIN, "not within {HEARD_WITHIN:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await; // the pause between two looks
    }
}

async fn heard(controller: &Controller, remote: &Remote) {
    let version = controller.state.lock().unwrap().version;
    eventually("the news", || async { remote.pulse.version() == version }).await;
}

#[tokio::test]
async fn a_key_that_is_known_costs_no_call() {
    let (controller, remote, _trigger) = start(LONG);
    heard(&controller, &remote).await;
    for _ in 0..100 {
        let signer = remote.signer(ANN, None).await.unwrap();
        assert_eq!((signer.who.user.as_str(), signer.policies.len()), ("ann", 1));
    }
    assert_eq!(controller.asked(), 1);
    for _ in 0..100 {
        assert_eq!(remote.signer(BOB, None).await.unwrap_err(), AuthFault::UnknownKey);
    }
    assert_eq!(controller.asked(), 2, "nor does one that nobody has");
    for nonsense in ["", "a b", "../../x", &"A".repeat(129)] {
        assert_eq!(remote.signer(nonsense, None).await.unwrap_err(), AuthFault::UnknownKey);
    }
    assert_eq!(controller.asked(), 2, "what is no key is not asked for");
    assert_eq!(remote.signer(ANN, Some("token")).await.unwrap_err(), AuthFault::BadToken);
    assert_eq!(remote.signer(BOB, Some("token")).await.unwrap_err(), AuthFault::BadToken);
}

#[tokio::test]
async fn temporary_credentials_cost_no_call_once_their_token_is_known() {
    let (controller, remote, _trigger) = start(LONG);
    controller.change(|state| {
        state.sessions = BTreeMap::from([("good".to_owned(), NEVER_OVER), ("over".to_owned(), 1)]);
    });
    heard(&controller, &remote).await;
    for _ in 0..100 {
        let signer = remote.signer(TEMPORARY, Some("good")).await.unwrap();
        assert_eq!((signer.access_key_id.as_str(), signer.who.user.as_str()), (TEMPORARY, "ann"));
        assert_eq!(remote.signer(TEMPORARY, Some("over")).await.unwrap_err(), AuthFault::ExpiredToken);
    }
    assert_eq!(controller.asked(), 2);
    let long = "A".repeat(TOKEN_CHARS_MAX + 1);
    for wrong in ["", &long] {
        assert_eq!(remote.signer(TEMPORARY, Some(wrong)).await.unwrap_err(), AuthFault::BadToken);
    }
    assert_eq!(controller.asked(), 2, "what is no token is not asked for");
    for (key, token) in [(TEMPORARY, "made-up"), (ANN, "good"), (BOB, "good")] {
        assert_eq!(remote.signer(key, Some(token)).await.unwrap_err(), AuthFault::BadToken, "{key} {token}");
    }
    assert_eq!(remote.signer(TEMPORARY, None).await.unwrap_err(), AuthFault::UnknownKey);
    let before = controller.asked();
    remote.signer(TEMPORARY, Some("good")).await.unwrap();
    assert_eq!(controller.asked(), before, "nobody has pushed it out");
    controller.change(|state| state.keys.clear());
    eventually("the session ends with the user's key", || async {
        matches!(remote.signer(TEMPORARY, Some("good")).await, Err(AuthFault::BadToken))
    })
    .await;
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_ask_once() {
    let (controller, remote, _trigger) = start(LONG);
    heard(&controller, &remote).await;
    controller.state.lock().unwrap().slow = Duration::from_millis(50);
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let remote = remote.clone();
            tokio::spawn(async move { remote.signer(ANN, None).await.map(drop) })
        })
        .collect();
    asked[0].abort(); // who goes away does not take the answer from the others
    for one in asked.into_iter().skip(1) {
        one.await.unwrap().unwrap();
    }
    assert_eq!(controller.asked(), 1);
}

#[tokio::test]
async fn a_revoked_key_stops_and_a_new_one_works() {
    let (controller, remote, _trigger) = start(LONG);
    heard(&controller, &remote).await;
    remote.signer(ANN, None).await.unwrap();
    assert_eq!(remote.signer(BOB, None).await.unwrap_err(), AuthFault::UnknownKey);
    controller.change(|state| state.keys = BTreeSet::from([BOB.to_owned()]));
    eventually("Ann is refused", || async { remote.signer(ANN, None).await.is_err() }).await;
    eventually("Bob is served", || async { remote.signer(BOB, None).await.is_ok() }).await;
}

#[tokio::test]
async fn certificates_of_forgotten_nodes_are_heard_of() {
    let directory = tempfile::tempdir().unwrap();
    let revoked = Revoked::load(directory.path()).unwrap();
    let (controller, _remote, _trigger) = start_with(LONG, &revoked);
    let gone = Fingerprint("gone".to_owned());
    controller.change(|state| state.revoked = Some(vec![gone.0.clone()]));
    eventually("it is refused", || async { revoked.contains(&gone) }).await;
    controller.change(|state| state.revoked = None);
    controller.change(|state| state.away = true);
    assert!(revoked.contains(&gone), "a controller that says nothing changes nothing");
    eventually("it is kept", || async { Revoked::load(directory.path()).unwrap().contains(&gone) }).await;
}

#[tokio::test]
async fn a_controller_that_is_away_stops_what_is_new_and_not_what_is_known() {
    let (controller, remote, _trigger) = start(LONG);
    heard(&controller, &remote).await;
    remote.signer(ANN, None).await.unwrap();
    controller.change(|state| state.away = true);
    eventually("it is away", || async { remote.pulse.is_away() }).await;
    remote.signer(ANN, None).await.unwrap();
    assert!(matches!(remote.signer(BOB, None).await.unwrap_err(), AuthFault::Unavailable(_)));
    controller.change(|state| {
        state.away = false;
        state.keys = BTreeSet::from([BOB.to_owned()]);
    });
    eventually("Bob is served", || async { remote.signer(BOB, None).await.is_ok() }).await;
    assert_eq!(remote.signer(ANN, None).await.unwrap_err(), AuthFault::UnknownKey);
}

#[tokio::test]
async fn what_is_known_is_not_believed_for_ever() {
    let (controller, remote, _trigger) = start(Duration::from_millis(300));
    heard(&controller, &remote).await;
    remote.signer(ANN, None).await.unwrap();
    controller.change(|state| state.away = true);
    eventually("it is too long ago", || async {
        matches!(remote.signer(ANN, None).await, Err(AuthFault::Unavailable(_)))
    })
    .await;
    controller.change(|state| state.away = false);
    eventually("it is back", || async { remote.signer(ANN, None).await.is_ok() }).await;
}

#[tokio::test]
async fn accounts_and_certificates_are_remembered_too() {
    let (controller, remote, _trigger) = start(LONG);
    heard(&controller, &remote).await;
    for name in [
        AccountName::Id("111122223333".into()),
        AccountName::Canonical(canonical_id("111122223333")),
        AccountName::Email("Ada@example.org".into()),
    ] {
        let before = controller.asked();
        for _ in 0..3 {
            assert_eq!(remote.account(&name).await.unwrap().unwrap().name, "physics", "{name:?}");
        }
        assert_eq!(controller.asked(), before + 1, "{name:?}");
    }
    assert_eq!(remote.certificates("111122223333").await.unwrap().len(), 1);
    for (account, user, there) in
        [("111122223333", "ann", true), ("111122223333", "eve", false), ("", "ann", false)]
    {
        assert_eq!(remote.has_user(account, user).await.unwrap(), there, "{account}/{user}");
    }
    assert!(remote.certificates("999922223333").await.unwrap().is_empty());
    assert!(remote.account(&AccountName::Id(String::new())).await.unwrap().is_none());
}
