//! `karri key`: access keys. A secret is shown once, when it is made.

use super::when;
use crate::args::Key as Verb;
use crate::cloud::Cloud;
use crate::output::{Format, Table};
use karri_proto::internal::admin::{AccessKey, AdminService, NewKey};

pub async fn run(cloud: &Cloud, verb: Verb, output: Format) -> anyhow::Result<()> {
    let (clc, caller) = (cloud.clc()?, cloud.caller());
    match verb {
        Verb::Create { account, user } => {
            let new = NewKey { account, user, access_key_id: None, secret_access_key: None };
            output.print(&clc.key_create(caller, new).await?, created)
        }
        Verb::List { account } => output.print(&clc.key_list(caller, &account).await?, |keys| table(keys)),
        Verb::Delete { access_key_id } => Ok(clc.key_delete(caller, &access_key_id).await?),
    }
}

fn created(key: &AccessKey) -> String {
    let secret = key.secret_access_key.as_deref().unwrap_or_default();
    format!("AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={secret}\n", key.access_key_id)
}

fn table(keys: &[AccessKey]) -> String {
    let mut table = Table::new(["ACCESS KEY", "USER", "CREATED"]);
    for key in keys {
        table.row([key.access_key_id.clone(), key.user.clone(), when(key.created_at_unix_ms)]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_shows_its_secret_and_the_list_does_not() {
        let key = AccessKey {
            access_key_id: "AKIA1".into(),
            secret_access_key: Some("s3cret".into()),
            account: "1".into(),
            user: "ada".into(),
            created_at_unix_ms: 0,
        };
        assert_eq!(created(&key), "AWS_ACCESS_KEY_ID=AKIA1\nAWS_SECRET_ACCESS_KEY=s3cret\n");
        assert_eq!(table(&[key]), "ACCESS KEY  USER  CREATED\nAKIA1       ada   1970-01-01 00:00:00Z\n");
    }
}
