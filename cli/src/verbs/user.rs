//! `karri user`: who may do what in an account.

use super::when;
use crate::args::User as Verb;
use crate::cloud::Cloud;
use crate::output::{Format, Table};
use anyhow::Context;
use karri_proto::internal::admin::{AdminService, NewPolicy, NewUser, User};
use std::path::Path;

const POLICY_BYTES_MAX: u64 = 64 * 1024;

pub async fn run(cloud: &Cloud, verb: Verb, output: Format) -> anyhow::Result<()> {
    let (clc, caller) = (cloud.clc()?, cloud.caller());
    match verb {
        Verb::Create { name, account, policies } => {
            let policies = policies.iter().map(|given| policy(given)).collect::<Result<_, _>>()?;
            let user = clc.user_create(caller, NewUser { account, name, policies }).await?;
            output.print(&user, |user| table(std::slice::from_ref(user)))
        }
        Verb::List { account } => output.print(&clc.user_list(caller, &account).await?, |users| table(users)),
        Verb::Delete { name, account } => Ok(clc.user_delete(caller, &account, &name).await?),
    }
}

/// A file's document, called as the file is, or the name of a built-in policy.
fn policy(given: &str) -> anyhow::Result<NewPolicy> {
    let path = Path::new(given);
    let looks_like_a_file = given.contains('/') || given.ends_with(".json");
    if !looks_like_a_file && !path.exists() {
        return Ok(NewPolicy::from(given));
    }
    let bytes = path.metadata().with_context(|| given.to_owned())?.len();
    anyhow::ensure!(bytes <= POLICY_BYTES_MAX, "{given}: a policy has at most {POLICY_BYTES_MAX} bytes");
    let document = std::fs::read_to_string(path).with_context(|| given.to_owned())?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Ok(NewPolicy { name, policy: document })
}

fn table(users: &[User]) -> String {
    let mut table = Table::new(["USER", "ARN", "POLICIES", "CREATED"]);
    for user in users {
        let policies: Vec<&str> = user.policies.iter().map(|(name, _)| name.as_str()).collect();
        table.row([
            user.name.clone(),
            user.arn.clone(),
            if policies.is_empty() { "-".to_owned() } else { policies.join(",") },
            when(user.created_at_unix_ms),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_a_name_or_a_file() {
        assert_eq!(policy("AdministratorAccess").unwrap(), NewPolicy::from("AdministratorAccess"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("read-only.json");
        assert!(policy(path.to_str().unwrap()).unwrap_err().to_string().contains("read-only.json"));
        std::fs::write(&path, "{}").unwrap();
        let read = policy(path.to_str().unwrap()).unwrap();
        assert_eq!(read, NewPolicy { name: Some("read-only".into()), policy: "{}".into() });
    }

    #[test]
    fn a_user_without_a_policy_shows_a_dash() {
        let user = User {
            account: "1".into(),
            name: "eve".into(),
            arn: "arn:aws:iam::1:user/eve".into(),
            policies: vec![],
            created_at_unix_ms: 0,
        };
        let ada = User {
            name: "ada".into(),
            policies: vec![("A".into(), "{}".into()), ("B".into(), "{}".into())],
            ..user.clone()
        };
        let text = table(&[user, ada]);
        assert!(text.contains("eve   arn:aws:iam::1:user/eve  -         1970-01-01 00:00:00Z\n"), "{text}");
        assert!(text.contains("A,B"), "{text}");
    }
}
