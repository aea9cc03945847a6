//! Who can administer the cloud, and that somebody always can. Values only.
//!
//! An administrator is an access key of a user who may do everything, in an account whose users act on
//! everyone's resources. What is deleted must not take the last of them away.

use karri_proto::policy::{Kind, Policy, RequestContext, evaluate};

/// A key in an administrator's account, and what its user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdministratorKey {
    pub access_key_id: String,
    pub account: String,
    pub user: String,
    /// Policy documents.
    pub policies: Vec<String>,
}

impl AdministratorKey {
    fn may_everything(&self) -> bool {
        may_everything(&self.policies)
    }
}

/// Whether policy documents let their user make other users, and so everything.
pub fn may_everything(documents: &[String]) -> bool {
    let policies: Vec<Policy> =
        documents.iter().filter_map(|text| Policy::parse(text, Kind::Identity).ok()).collect();
    evaluate(&policies, &RequestContext::new("", "iam:CreateUser")).is_allowed()
}

/// Whether `goes` names the last keys that the cloud can be administered with.
pub fn takes_the_last(keys: &[AdministratorKey], goes: impl Fn(&AdministratorKey) -> bool) -> bool {
    let (going, staying): (Vec<_>, Vec<_>) =
        keys.iter().filter(|key| key.may_everything()).partition(|key| goes(key));
    staying.is_empty() && !going.is_empty()
}

/// Whether a change of keys has taken from the cloud what it can be administered with.
pub fn leaves_nobody(before: &[AdministratorKey], after: &[AdministratorKey]) -> bool {
    let somebody = |keys: &[AdministratorKey]| keys.iter().any(AdministratorKey::may_everything);
    somebody(before) && !somebody(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::policy::managed;

    fn key(id: &str, account: &str, user: &str, policy: &str) -> AdministratorKey {
        AdministratorKey {
            access_key_id: id.into(),
            account: account.into(),
            user: user.into(),
            policies: managed(policy).map(|policy| policy.document.to_owned()).into_iter().collect(),
        }
    }

    #[test]
    fn somebody_who_may_do_everything_stays() {
        let root = key("k1", "1", "root", "AdministratorAccess");
        let spare = key("k2", "1", "root", "AdministratorAccess");
        let other = key("k3", "2", "ann", "AdministratorAccess");
        let reader = key("k4", "2", "bob", "ReadOnlyAccess");
        let nobody = key("k5", "2", "eve", "none");
        let of = |id: &'static str| move |key: &AdministratorKey| key.access_key_id == id;
        let all = [root.clone(), spare.clone(), reader.clone(), nobody.clone()];
        assert!(!takes_the_last(&all, of("k1")), "its user has another key");
        assert!(takes_the_last(&all, |key| key.user == "root"));
        assert!(takes_the_last(&all, |key| key.account == "1"), "who may only read is no administrator");
        assert!(!takes_the_last(&all, of("k4")));
        assert!(takes_the_last(&[root.clone(), reader.clone()], of("k1")));
        assert!(!takes_the_last(&[root, reader, other], of("k1")));
        assert!(!takes_the_last(&[nobody], |_| true), "there was none");
    }
}
