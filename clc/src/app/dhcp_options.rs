//! Sets of DHCP options: what may be in one, and what guests are told of it.

use crate::app::App;
use crate::app::instance::control::Caller;
use crate::app::names::private_domain;
use crate::app::tag::{Taggable, Tags};
use crate::app::vpc::has_dependencies;
use crate::store::counter_next_in_txn;
use crate::store::dhcp_options::{
    DhcpOptions, Options, dhcp_options_count_in_txn, dhcp_options_delete_in_txn, dhcp_options_fetch_in_txn,
    dhcp_options_insert_in_txn, dhcp_options_user_in_txn,
};
use crate::store::network_change::networks_turn_in_txn;
use crate::store::tag::{tags_drop_in_txn, tags_put_in_txn};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::DhcpOptionsId;
use karri_proto::network::DhcpOptions as Told;
use std::net::Ipv4Addr;

const DOMAIN_NAME: &str = "domain-name";
const NAME_SERVERS: &str = "domain-name-servers";
const TIME_SERVERS: &str = "ntp-servers";
const NETBIOS_NAME_SERVERS: &str = "netbios-name-servers";
const NETBIOS_NODE_TYPE: &str = "netbios-node-type";
/// EC2's word for the cloud's own server of names.
const OWN_SERVER: &str = "AmazonProvidedDNS";
/// Of each kind, as on EC2.
const SERVERS_MAX: usize = 4;
const DOMAIN_CHARS_MAX: usize = 253;
const NODE_TYPES: [&str; 4] = ["1", "2", "4", "8"];

/// What clusters are told of a set. A value that is no address means the cluster's own server.
pub fn told(options: &Options) -> Told {
    let mut told = Told::default();
    for (name, values) in options {
        let addresses = || values.iter().filter_map(|value| value.parse().ok()).collect();
        match name.as_str() {
            DOMAIN_NAME => told.domain_name = values.first().cloned(),
            NAME_SERVERS => told.name_servers = addresses(),
            TIME_SERVERS => told.time_servers = addresses(),
            NETBIOS_NAME_SERVERS => told.netbios_name_servers = addresses(),
            NETBIOS_NODE_TYPE => {
                told.netbios_node_type = values.first().and_then(|value| value.parse().ok());
            }
            _ => {}
        }
    }
    told
}

/// What a default set is told to have in a region.
pub fn of_region(region: &str) -> Options {
    let domain = vec![private_domain(region)];
    vec![(DOMAIN_NAME.to_owned(), domain), (NAME_SERVERS.to_owned(), vec![OWN_SERVER.to_owned()])]
}

fn invalid(value: &str, name: &str) -> Fault {
    let sentence = format!("Value ({}) for parameter value is invalid. Invalid {name} value.", shown(value));
    Fault::invalid_parameter(sentence)
}

/// Refuses what guests could not be told. Pure.
pub fn check(options: &Options) -> Result<(), Fault> {
    if options.is_empty() {
        let sentence = "The request must contain the parameter dhcpConfigurationSet";
        return Err(Fault::new(FaultCode::MissingParameter, sentence));
    }
    for (at, (name, values)) in options.iter().enumerate() {
        if options[..at].iter().any(|(earlier, _)| earlier == name) {
            let sentence = format!("The DHCP option '{}' is given twice", shown(name));
            return Err(Fault::invalid_parameter(sentence));
        }
        if values.is_empty() {
            let sentence = format!("The DHCP option '{}' has no value", shown(name));
            return Err(Fault::invalid_parameter(sentence));
        }
        check_one(name, values)?;
    }
    Ok(())
}

fn check_one(name: &str, values: &[String]) -> Result<(), Fault> {
    match name {
        DOMAIN_NAME => {
            one_value(name, values)?;
            values.iter().find(|value| !is_domain(value)).map_or(Ok(()), |value| Err(invalid(value, name)))
        }
        NAME_SERVERS if values == [OWN_SERVER] => Ok(()),
        NAME_SERVERS | TIME_SERVERS | NETBIOS_NAME_SERVERS => {
            if values.len() > SERVERS_MAX {
                let sentence = format!("The DHCP option '{name}' has at most {SERVERS_MAX} values");
                return Err(Fault::invalid_parameter(sentence));
            }
            let wrong = values.iter().find(|value| value.parse::<Ipv4Addr>().is_err());
            wrong.map_or(Ok(()), |value| Err(invalid(value, name)))
        }
        NETBIOS_NODE_TYPE => {
            one_value(name, values)?;
            let wrong = values.iter().find(|value| !NODE_TYPES.contains(&value.as_str()));
            wrong.map_or(Ok(()), |value| Err(invalid(value, name)))
        }
        _ => {
            let sentence =
                format!("Value ({}) for parameter name is invalid. Unknown DHCP option", shown(name));
            Err(Fault::invalid_parameter(sentence))
        }
    }
}

fn one_value(name: &str, values: &[String]) -> Result<(), Fault> {
    match values {
        [_] => Ok(()),
        _ => Err(Fault::invalid_parameter(format!("The DHCP option '{name}' has exactly one value"))),
    }
}

/// Labels of letters, digits, dashes and underscores. Several domains, which some guests understand, are none.
fn is_domain(text: &str) -> bool {
    let plain = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-')
    };
    text.len() <= DOMAIN_CHARS_MAX && text.strip_suffix('.').unwrap_or(text).split('.').all(plain)
}

impl App {
    /// `dry`: nothing is done after all.
    pub async fn dhcp_options_create(
        &self,
        account: &str,
        options: Options,
        tags: &Tags,
        dry: bool,
    ) -> Result<DhcpOptions, Fault> {
        check(&options)?;
        let id = DhcpOptionsId::random(&mut rand::thread_rng());
        let set = DhcpOptions { id: id.into(), account: account.to_owned(), is_default: false, options };
        let mut tx = self.store.begin().await?;
        networks_turn_in_txn(&mut tx).await?;
        let most = self.limits.dhcp_options_per_account;
        if dhcp_options_count_in_txn(&mut tx, account).await? >= most {
            let sentence = format!("The maximum number of sets of DHCP options has been reached ({most}).");
            return Err(Fault::new(FaultCode::ResourceLimitExceeded, sentence));
        }
        dhcp_options_insert_in_txn(&mut tx, &set).await?;
        tags_put_in_txn(&mut tx, account, Taggable::DhcpOptions, &set.id, tags).await?;
        if !dry {
            self.store.commit_and_forget(tx).await?;
        }
        Ok(set)
    }

    /// Not while a VPC has them. `dry`: not at all.
    pub async fn dhcp_options_delete(&self, caller: Caller<'_>, id: &str, dry: bool) -> Result<(), Fault> {
        let id: DhcpOptionsId = id.parse()?;
        let mut tx = self.store.begin().await?;
        counter_next_in_txn(&mut tx, "instances").await?; // whoever tags it takes this turn, too
        networks_turn_in_txn(&mut tx).await?;
        let found = dhcp_options_fetch_in_txn(&mut tx, id.as_str()).await?;
        let seen = found.filter(|set| caller.administrator || set.account == caller.account);
        if seen.is_none() {
            // EC2 has another code where they are to be deleted.
            let sentence = format!("The dhcpOptions ID '{id}' does not exist");
            return Err(Fault::new(FaultCode::InvalidDhcpOptionsIdNotFound, sentence));
        }
        if let Some(vpc) = dhcp_options_user_in_txn(&mut tx, id.as_str()).await? {
            return Err(has_dependencies("dhcpOptions", id.as_str(), &format!("VPC '{vpc}'")));
        }
        tags_drop_in_txn(&mut tx, id.as_str()).await?;
        dhcp_options_delete_in_txn(&mut tx, id.as_str()).await?;
        if !dry {
            self.store.commit_and_forget(tx).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &[&str])]) -> Options {
        let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        pairs.iter().map(|(name, all)| ((*name).to_owned(), values(all))).collect()
    }

    #[test]
    fn what_guests_can_be_told_is_taken() {
        for pairs in [
            &[("domain-name", &["example.com"][..])][..],
            &[("domain-name-servers", &["AmazonProvidedDNS"])],
            &[("domain-name-servers", &["10.0.0.2", "10.0.0.3"]), ("ntp-servers", &["10.0.0.4"])],
            &[("netbios-name-servers", &["10.0.0.5"]), ("netbios-node-type", &["2"])],
        ] {
            check(&options(pairs)).unwrap();
        }
    }

    #[test]
    fn what_guests_could_not_be_told_is_refused() {
        let long = "x".repeat(64);
        for pairs in [
            &[("domain-name", &["a b"][..])][..],
            &[("domain-name", &["a..b"])],
            &[("domain-name", &[&long])],
            &[("domain-name", &["a", "b"])],
            &[("domain-name", &["a\nserver=1.2.3.4"])],
            &[("domain-name-servers", &[])],
            &[("domain-name-servers", &["AmazonProvidedDNS", "10.0.0.2"])],
            &[("domain-name-servers", &["2001:db8::1"])],
            &[("ntp-servers", &["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5"])],
            &[("ntp-servers", &["AmazonProvidedDNS"])],
            &[("netbios-node-type", &["3"])],
            &[("netbios-node-type", &["1", "2"])],
            &[("colour", &["blue"])],
            &[("domain-name", &["a"]), ("domain-name", &["b"])],
        ] {
            let fault = check(&options(pairs)).unwrap_err();
            assert_eq!(fault.code(), "InvalidParameterValue", "{pairs:?}");
        }
        assert_eq!(check(&Options::new()).unwrap_err().code(), "MissingParameter");
    }

    #[test]
    fn a_cluster_is_told_addresses_and_nothing_of_its_own_server() {
        let all = options(&[
            ("domain-name", &["example.com"]),
            ("domain-name-servers", &["AmazonProvidedDNS"]),
            ("ntp-servers", &["10.0.0.4"]),
            ("netbios-name-servers", &["10.0.0.5"]),
            ("netbios-node-type", &["8"]),
        ]);
        let told = told(&all);
        assert_eq!(told.domain_name.as_deref(), Some("example.com"));
        assert!(told.name_servers.is_empty());
        assert_eq!(told.time_servers, [Ipv4Addr::new(10, 0, 0, 4)]);
        assert_eq!(told.netbios_name_servers, [Ipv4Addr::new(10, 0, 0, 5)]);
        assert_eq!(told.netbios_node_type, Some(8));
    }

    #[test]
    fn a_default_set_follows_the_region() {
        assert_eq!(of_region("us-east-1")[0].1, ["ec2.internal"]);
        assert_eq!(of_region("karri-1")[0].1, ["karri-1.compute.internal"]);
        check(&of_region("karri-1")).unwrap();
    }
}
