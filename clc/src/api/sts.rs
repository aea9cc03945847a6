//! STS: who am I, and credentials for a while.

use super::cx::{Answer, Cx, FEDERATED_USER};
use super::permit::{Asks, Target};
use super::table::Table;
use crate::app::account::policy::unknown_key;
use crate::app::session::{Federation, Issued, TOKEN_CHARS_MAX, federated_arn, federated_id};
use karri_proto::aws::sts::{
    Credentials, FederatedUser, GetCallerIdentityRequest, GetCallerIdentityResponse,
    GetFederationTokenRequest, GetFederationTokenResponse, GetSessionTokenRequest, GetSessionTokenResponse,
};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::policy::{Kind, Policy, managed};
use std::ops::RangeInclusive;
use time::OffsetDateTime;

/// Twelve hours.
const SECONDS_DEFAULT: i32 = 43_200;
const NAME_CHARS: RangeInclusive<usize> = 2..=32;
const POLICY_CHARS_MAX: usize = 2048;
const POLICY_ARNS_MAX: usize = 10;

pub fn table(table: Table) -> Table {
    // AWS lets everyone ask who they are, and for credentials that can do no more than they can themselves,
    // whatever their policies say.
    let table = table.on(get_caller_identity, |_, _| Asks::Nothing);
    table.on(get_session_token, |_, _| Asks::Nothing).on(get_federation_token, federation_asks)
}

fn federation_asks(_: &Cx, request: &GetFederationTokenRequest) -> Asks {
    Asks::On(vec![Target::new(FEDERATED_USER, &request.name)])
}

async fn get_caller_identity(cx: Cx, _: GetCallerIdentityRequest) -> Answer<GetCallerIdentityResponse> {
    Ok(GetCallerIdentityResponse {
        account: Some(cx.signer.account.clone()),
        arn: Some(cx.signer.arn.clone()),
        user_id: Some(cx.signer.user_id.clone()),
    })
}

async fn get_session_token(cx: Cx, request: GetSessionTokenRequest) -> Answer<GetSessionTokenResponse> {
    refuse_session(&cx, "GetSessionToken")?;
    if request.serial_number.is_some() || request.token_code.is_some() {
        // Nobody has such a device here, and who asks for the check must not be told that it went well.
        let sentence = "MultiFactorAuthentication failed with invalid MFA one time pass code. ";
        return Err(Fault::new(FaultCode::AccessDenied, sentence));
    }
    let given = issue(&cx, request.duration_seconds, request.minimum_session_token_size, None);
    Ok(GetSessionTokenResponse {
        session_token_size: Some(size(&given)),
        session_token_utilization: Some(utilization(&given)),
        credentials: Some(credentials(given)),
    })
}

async fn get_federation_token(
    cx: Cx,
    request: GetFederationTokenRequest,
) -> Answer<GetFederationTokenResponse> {
    refuse_session(&cx, "GetFederationToken")?;
    check_name(&request.name)?;
    if !request.tags.is_empty() {
        return Err(validation("Session tags are not to be had in this cloud: specify no Tags"));
    }
    let policies = policies(&request)?;
    let chars: usize = policies.iter().map(|text| text.chars().count()).sum();
    let (account, name) = (cx.account().to_owned(), request.name);
    let federated_user = FederatedUser {
        arn: federated_arn(&account, &name),
        federated_user_id: federated_id(&account, &name),
    };
    let federation = Federation { name, policies };
    let given = issue(&cx, request.duration_seconds, request.minimum_session_token_size, Some(federation));
    Ok(GetFederationTokenResponse {
        federated_user: Some(federated_user),
        packed_policy_size: Some(percent(chars, POLICY_CHARS_MAX)),
        session_token_size: Some(size(&given)),
        session_token_utilization: Some(utilization(&given)),
        credentials: Some(credentials(given)),
    })
}

/// Temporary credentials beget no others.
fn refuse_session(cx: &Cx, action: &str) -> Result<(), Fault> {
    match cx.signer.session {
        Some(_) => {
            let sentence = format!("Cannot call {action} with session credentials");
            Err(Fault::new(FaultCode::AccessDenied, sentence))
        }
        None => Ok(()),
    }
}

fn validation(sentence: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Fault::new(FaultCode::ValidationError, sentence)
}

fn check_name(name: &str) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if NAME_CHARS.contains(&name.chars().count()) && name.chars().all(allowed) {
        return Ok(());
    }
    let shown = shown(name);
    let sentence = format!(
        "Value ({shown}) for parameter Name is invalid. Expecting 2 to 32 letters, digits and characters of _+=,.@-"
    );
    Err(validation(sentence))
}

/// What is to narrow the user's policies: built-in ones by name, and the document as it is.
fn policies(request: &GetFederationTokenRequest) -> Result<Vec<String>, Fault> {
    if request.policy_arns.len() > POLICY_ARNS_MAX {
        let sentence = format!("The parameter PolicyArns has more than {POLICY_ARNS_MAX} members");
        return Err(validation(sentence));
    }
    let malformed = |sentence: String| Fault::new(FaultCode::MalformedPolicyDocument, sentence);
    let mut policies = Vec::new();
    for one in &request.policy_arns {
        let arn = one.arn.as_deref().unwrap_or_default();
        let known = managed(arn).filter(|known| known.arn() == arn);
        let known = known.ok_or_else(|| malformed(format!("There is no policy {}", shown(arn))))?;
        policies.push(known.name.to_owned());
    }
    let Some(document) = &request.policy else { return Ok(policies) };
    let chars = document.chars().count();
    if !(1..=POLICY_CHARS_MAX).contains(&chars) {
        let sentence =
            format!("The parameter Policy has {chars} characters. Expecting 1 to {POLICY_CHARS_MAX}.");
        return Err(validation(sentence));
    }
    let read = Policy::parse(document, Kind::Identity).map_err(|fault| malformed(fault.to_string()))?;
    if let Some(key) = unknown_key(&read) {
        let sentence = format!("Unknown condition key or variable {}: no request has it", shown(&key));
        return Err(malformed(sentence));
    }
    policies.push(document.clone());
    Ok(policies)
}

fn issue(
    cx: &Cx,
    seconds: Option<i32>,
    token_bytes_min: Option<i32>,
    federation: Option<Federation>,
) -> Issued {
    let token_bytes_min = token_bytes_min.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
    let seconds = i64::from(seconds.unwrap_or(SECONDS_DEFAULT));
    let given = cx.app.session_issue(&cx.signer, seconds, token_bytes_min, federation);
    // A read for whoever looks at the answer; what it gives away is to be found in the log.
    let (account, user, key) = (&cx.signer.account, &cx.signer.user, &given.access_key_id);
    tracing::info!(request_id = %cx.request_id, account, user, key, seconds, "temporary credentials given");
    given
}

fn size(given: &Issued) -> i32 {
    i32::try_from(given.token.len()).unwrap_or(i32::MAX)
}

fn utilization(given: &Issued) -> i32 {
    percent(given.token.len(), TOKEN_CHARS_MAX)
}

fn percent(part: usize, whole: usize) -> i32 {
    i32::try_from((part * 100).div_ceil(whole)).unwrap_or(100)
}

fn credentials(given: Issued) -> Credentials {
    Credentials {
        access_key_id: given.access_key_id,
        secret_access_key: given.secret,
        session_token: given.token,
        expiration: OffsetDateTime::from_unix_timestamp(given.expires_ms / 1000).ok(),
    }
}
