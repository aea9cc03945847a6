//! The cloud controller knows who signs; Walrus remembers, and waits for news all the time.

use super::kept::Kept;
use super::pulse::Pulse;
use super::{AccountFacts, AccountName, AuthFault, Authenticator, Signer, UserCertificate, is_key_id};
use async_trait::async_trait;
use karri_proto::internal::Caller;
use karri_proto::internal::signers::{SecretText, SessionAsked, SignerService, Told};
use karri_proto::runtime::outage::Outage;
use karri_proto::runtime::revoked::Revoked;
use karri_proto::runtime::server::Shutdown;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one question for news waits at the controller.
const NEWS_WAIT: Duration = Duration::from_secs(5);
/// On top of it: a connection that died unseen must not hide a revoked key for long.
const NEWS_GRACE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(500);
const NAME_CHARS_MAX: usize = 254;
/// The cloud controller's are shorter.
pub(super) const TOKEN_CHARS_MAX: usize = 8192;

pub struct Remote {
    service: Arc<dyn SignerService>,
    caller: Caller,
    pub(super) pulse: Arc<Pulse>,
    signers: Arc<Kept<Signer>>,
    /// By key and token: whoever makes up a token does not push out the right one.
    sessions: Arc<Kept<Signer>>,
    accounts: Arc<Kept<AccountFacts>>,
    certificates: Arc<Kept<Vec<UserCertificate>>>,
}

impl Remote {
    /// Goes on for `silence_max` with what it knows when the controller is away.
    pub fn new(service: Arc<dyn SignerService>, caller: Caller, silence_max: Duration) -> Arc<Self> {
        Arc::new(Self {
            service,
            caller,
            pulse: Arc::new(Pulse::new(silence_max)),
            signers: Kept::new(),
            sessions: Kept::new(),
            accounts: Kept::new(),
            certificates: Kept::new(),
        })
    }

    /// The loop that hears of changes, and of nodes whose certificates are to be refused.
    pub async fn listen(self: Arc<Self>, revoked: Revoked, mut shutdown: Shutdown) {
        let mut outage = Outage::default();
        let mut given_up = false;
        loop {
            let asked = self.service.signers_version(&self.caller, self.pulse.version(), NEWS_WAIT);
            let asked = tokio::time::timeout(NEWS_WAIT + NEWS_GRACE, asked);
            let heard = tokio::select! {
                heard = asked => heard,
                () = shutdown.wait() => return,
            };
            let why = match heard {
                Ok(Ok(news)) => {
                    self.pulse.heard(news.version);
                    revoked.told(news.revoked).await;
                    if outage.ends() {
                        tracing::info!("the cloud controller is back; keys are looked up again");
                    }
                    given_up = false;
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            self.pulse.is_silent();
            if outage.goes_on(Instant::now()) {
                tracing::warn!(why, "the cloud controller does not answer; keys that are known go on");
            }
            if !given_up && !self.pulse.is_believed() {
                given_up = true;
                tracing::error!(
                    why,
                    "the cloud controller does not answer for too long: no signed request is served"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = shutdown.wait() => return,
            }
        }
    }
}

impl Remote {
    /// Who holds temporary credentials.
    async fn session(&self, access_key_id: &str, token: &str) -> Result<Arc<Signer>, AuthFault> {
        if token.is_empty() || token.len() > TOKEN_CHARS_MAX {
            return Err(AuthFault::BadToken);
        }
        let ask = || {
            let (service, caller) = (self.service.clone(), self.caller.clone());
            let (access_key_id, session_token) = (access_key_id.to_owned(), SecretText(token.to_owned()));
            async move {
                let asked = SessionAsked { access_key_id, session_token };
                let Told { version, found } = service.signer_session(&caller, &asked).await?;
                Ok(Told { version, found: found.map(Signer::new) })
            }
        };
        let name = format!("{access_key_id} {}", hex::encode(Sha256::digest(token)));
        let signer = self.sessions.get(&name, &self.pulse, ask).await?.ok_or(AuthFault::BadToken)?;
        if signer.is_expired() { Err(AuthFault::ExpiredToken) } else { Ok(signer) }
    }
}

#[async_trait]
impl Authenticator for Remote {
    async fn signer(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
    ) -> Result<Arc<Signer>, AuthFault> {
        if !is_key_id(access_key_id) {
            return Err(AuthFault::UnknownKey);
        }
        if let Some(token) = session_token {
            return self.session(access_key_id, token).await;
        }
        let ask = || {
            let (service, caller, key) =
                (self.service.clone(), self.caller.clone(), access_key_id.to_owned());
            async move {
                let Told { version, found } = service.signer(&caller, &key).await?;
                Ok(Told { version, found: found.map(Signer::new) })
            }
        };
        let found = self.signers.get(access_key_id, &self.pulse, ask).await?;
        found.ok_or(AuthFault::UnknownKey)
    }

    async fn account(&self, name: &AccountName) -> Result<Option<Arc<AccountFacts>>, AuthFault> {
        let name = name.folded();
        let key = name.text();
        if key.is_empty() || key.len() > NAME_CHARS_MAX {
            return Ok(None);
        }
        let ask = || {
            let (service, caller, name) = (self.service.clone(), self.caller.clone(), name.clone());
            async move { service.signer_account(&caller, &name).await }
        };
        // Numbers, digests and addresses with an @ cannot be taken for each other.
        self.accounts.get(key, &self.pulse, ask).await
    }

    /// Asked for every time: who writes a policy is to be told the truth of now, and that is seldom.
    async fn has_user(&self, account: &str, user: &str) -> Result<bool, AuthFault> {
        if [account, user].iter().any(|name| name.is_empty() || name.len() > NAME_CHARS_MAX) {
            return Ok(false);
        }
        let asked = self.service.signer_user(&self.caller, account, user).await;
        asked.map(|told| told.found.is_some()).map_err(|error| AuthFault::Unavailable(error.to_string()))
    }

    async fn certificates(&self, account: &str) -> Result<Arc<Vec<UserCertificate>>, AuthFault> {
        if account.is_empty() || account.len() > NAME_CHARS_MAX {
            return Ok(Arc::default());
        }
        let ask = || {
            let (service, caller, account) = (self.service.clone(), self.caller.clone(), account.to_owned());
            async move { service.signer_certificates(&caller, &account).await }
        };
        Ok(self.certificates.get(account, &self.pulse, ask).await?.unwrap_or_default())
    }
}
