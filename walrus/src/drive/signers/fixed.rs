//! A file that knows who signs: for tests, and for a Walrus that stands alone.

use super::{
    AccountFacts, AccountName, AuthFault, Authenticator, Signer, UserCertificate, Who, canonical_id,
};
use async_trait::async_trait;
use karri_proto::internal::signers::{SecretText, SignerRecord};
use karri_proto::policy::{Kind, Policy, RequestContext, evaluate, managed};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// A user with its key. Those of one account say the same of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Twelve digits.
    pub account: String,
    pub account_name: String,
    #[serde(default)]
    pub email: Option<String>,
    pub user: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Of the whole store: acts on every account's buckets.
    #[serde(default)]
    pub administrator: bool,
    /// Names of built-in policies, or documents; without any the user may do nothing.
    #[serde(default)]
    pub policies: Vec<String>,
    /// PEM, for image bundles.
    #[serde(default)]
    pub certificates: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    users: Vec<Entry>,
}

#[derive(Debug, Default)]
pub struct Fixed {
    signers: HashMap<String, Arc<Signer>>,
    accounts: HashMap<AccountName, Arc<AccountFacts>>,
    certificates: HashMap<String, Arc<Vec<UserCertificate>>>,
}

impl Fixed {
    /// # Errors
    /// The sentence names the user that cannot be.
    pub fn new(entries: Vec<Entry>) -> Result<Arc<Self>, String> {
        let mut all = Self::default();
        for entry in entries {
            let who = format!("{} of account {}", entry.user, entry.account);
            all.add(entry).map_err(|why| format!("{who}: {why}"))?;
        }
        Ok(Arc::new(all))
    }

    /// From a TOML file with a `[[users]]` for each.
    pub fn load(path: &Path) -> Result<Arc<Self>, String> {
        let named = |why: String| format!("{}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        let file: File = toml::from_str(&text).map_err(|error| named(error.to_string()))?;
        Self::new(file.users).map_err(named)
    }

    fn add(&mut self, entry: Entry) -> Result<(), String> {
        let account = &entry.account;
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return Err("an account has twelve digits".to_owned());
        }
        let document =
            |text: &String| managed(text).map_or_else(|| text.clone(), |known| known.document.to_owned());
        let documents: Vec<String> = entry.policies.iter().map(document).collect();
        let policies: Result<Vec<Policy>, _> =
            documents.iter().map(|text| Policy::parse(text, Kind::Identity)).collect();
        let policies = policies.map_err(|fault| fault.to_string())?;
        let facts = AccountFacts::new(account, &entry.account_name, entry.email.as_deref());
        let names = [AccountName::Id(account.clone()), AccountName::Canonical(canonical_id(account))];
        let email = entry.email.clone().map(|email| AccountName::Email(email).folded());
        for name in names.into_iter().chain(email) {
            self.accounts.insert(name, Arc::new(facts.clone()));
        }
        let certificates = Arc::make_mut(self.certificates.entry(account.clone()).or_default());
        certificates.extend(entry.certificates.into_iter().enumerate().map(|(n, pem)| UserCertificate {
            id: format!("{}-{n}", entry.user),
            user: entry.user.clone(),
            pem,
        }));
        let who = Who {
            arn: format!("arn:aws:iam::{account}:user/{}", entry.user),
            user_id: format!("AIDA{}", entry.access_key_id),
            user: entry.user,
            administrator: entry.administrator,
            root: evaluate(&policies, &RequestContext::new("", "iam:CreateUser")).is_allowed(),
            account: facts,
        };
        let record = SignerRecord {
            access_key_id: entry.access_key_id.clone(),
            who,
            secret_access_key: SecretText(entry.secret_access_key),
            session: None,
            policies: documents,
        };
        match self.signers.insert(entry.access_key_id, Arc::new(Signer::new(record))) {
            Some(_) => Err("the access key is there twice".to_owned()),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Authenticator for Fixed {
    async fn signer(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
    ) -> Result<Arc<Signer>, AuthFault> {
        let signer = self.signers.get(access_key_id).cloned().ok_or(AuthFault::UnknownKey)?;
        if session_token.is_some() { Err(AuthFault::BadToken) } else { Ok(signer) }
    }

    async fn account(&self, name: &AccountName) -> Result<Option<Arc<AccountFacts>>, AuthFault> {
        Ok(self.accounts.get(&name.folded()).cloned())
    }

    async fn has_user(&self, account: &str, user: &str) -> Result<bool, AuthFault> {
        Ok(self.signers.values().any(|signer| signer.who.account.id == account && signer.who.user == user))
    }

    async fn certificates(&self, account: &str) -> Result<Arc<Vec<UserCertificate>>, AuthFault> {
        Ok(self.certificates.get(account).cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[[users]]
account = "111122223333"
account_name = "main"
email = "Main@example.org"
user = "ann"
access_key_id = "0555b35654ad1656d804"
secret_access_key = "h7GhxuBLTrlhVUyxSPUKUV8r/2EI4ngqJxD7iBdBYLhwluN30JaT3Q=="
policies = ["AdministratorAccess"]
"#;

    #[tokio::test]
    async fn a_file_tells_who_signs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials.toml");
        std::fs::write(&path, FILE).unwrap();
        let fixed = Fixed::load(&path).unwrap();
        let signer = fixed.signer("0555b35654ad1656d804", None).await.unwrap();
        assert_eq!(signer.who.arn, "arn:aws:iam::111122223333:user/ann");
        assert!(signer.who.root && !signer.who.administrator);
        assert_eq!(fixed.signer("nobody", None).await.unwrap_err(), AuthFault::UnknownKey);
        assert_eq!(fixed.signer(&signer.access_key_id, Some("t")).await.unwrap_err(), AuthFault::BadToken);
        let email = AccountName::Email("main@EXAMPLE.org".into());
        assert_eq!(fixed.account(&email).await.unwrap().unwrap().id, "111122223333");
        assert_eq!(fixed.account(&AccountName::Id("0".into())).await.unwrap(), None);
        assert!(fixed.certificates("111122223333").await.unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_is_named() {
        let twice = format!("{FILE}{FILE}");
        for (text, why) in [
            (FILE.replace("111122223333", "1"), "twelve digits"),
            (FILE.replace("AdministratorAccess", "Nobody"), "ann of account"),
            (FILE.replace("user =", "usr ="), "usr"),
            (twice, "there twice"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("credentials.toml");
            std::fs::write(&path, text).unwrap();
            let refused = Fixed::load(&path).unwrap_err();
            assert!(refused.contains(why) && refused.contains("credentials.toml"), "{refused}");
        }
    }
}
