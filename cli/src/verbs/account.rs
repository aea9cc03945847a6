//! `karri account`: whose resources are whose.

use super::when;
use crate::args::Account as Verb;
use crate::cloud::Cloud;
use crate::output::{Format, Table};
use karri_proto::internal::admin::{Account, AdminService, NewAccount};

pub async fn run(cloud: &Cloud, verb: Verb, output: Format) -> anyhow::Result<()> {
    let (clc, caller) = (cloud.clc()?, cloud.caller());
    match verb {
        Verb::Create { name, administrator, email } => {
            let account = clc.account_create(caller, NewAccount { name, administrator, email }).await?;
            output.print(&account, |account| table(std::slice::from_ref(account)))
        }
        Verb::List => output.print(&clc.account_list(caller).await?, |accounts| table(accounts)),
        Verb::Delete { account, force } => Ok(clc.account_delete(caller, &account, force).await?),
    }
}

fn table(accounts: &[Account]) -> String {
    let mut table = Table::new(["ACCOUNT", "NAME", "ADMINISTRATOR", "CREATED", "E-MAIL"]);
    for account in accounts {
        let administrator = if account.administrator { "yes" } else { "no" };
        table.row([
            account.id.clone(),
            account.name.clone(),
            administrator.to_owned(),
            when(account.created_at_unix_ms),
            account.email.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_one_line_each() {
        let account = Account {
            id: "000000000001".into(),
            name: "admin".into(),
            administrator: true,
            email: Some("ada@example.org".into()),
            created_at_unix_ms: 1_700_000_000_000,
        };
        assert_eq!(
            table(&[account]),
            "ACCOUNT       NAME   ADMINISTRATOR  CREATED               E-MAIL\n\
             000000000001  admin  yes            2023-11-14 22:13:20Z  ada@example.org\n"
        );
    }
}
