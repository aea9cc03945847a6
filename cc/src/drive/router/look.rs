//! What the host's kernel has for a subnet, beside what is wanted. It is asked anew each time and nothing is changed.
//!
//! What is wanted is put into a namespace that nobody sees, so that it can be compared as the kernel prints it.

use super::netlink::{Held, Kernel};
use super::tables::run;
use super::{PROTOCOL, namespace, net, wire};
use crate::app::router::names::{self, UP, leg_inside};
use crate::app::router::{NEXT_HOP, Router, table_of};
use crate::config::NetworkConfig;
use crate::drive::firewall::Firewall;
use crate::drive::{DriveError, Eyes, Wanted};
use async_trait::async_trait;
use karri_net::{Names, Namespace, Netlink, Segments};
use karri_proto::internal::kernel::{KernelLook, counted};
use karri_proto::network::Subnet;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub struct HostEyes(pub NetworkConfig);

#[async_trait]
impl Eyes for HostEyes {
    async fn look(&self, wanted: &Wanted, subnet: &Subnet) -> Result<KernelLook, DriveError> {
        let mut look = KernelLook::default();
        if subnet.tag == 0 {
            self.flat(&mut look, wanted).await?;
            return Ok(look);
        }
        let router = wanted.routers.get(&subnet.vpc).filter(|router| router.legs.contains_key(&subnet.tag));
        if let Some(router) = router {
            self.router(&mut look, router, subnet).await?;
            self.segment(&mut look, wanted, subnet).await?;
        }
        Ok(look)
    }
}

impl HostEyes {
    async fn flat(&self, look: &mut KernelLook, wanted: &Wanted) -> Result<(), DriveError> {
        let mut firewall = Firewall::new(&self.0);
        firewall.want(&wanted.outside);
        let chains = firewall.chains();
        let aside = aside(firewall.rules()).await?;
        let here = Saved::parse(&crate::drive::firewall::saved().await?);
        tell(look, "", &here, &aside, |(_, chain)| chains.contains(&chain));
        Ok(())
    }

    async fn router(
        &self,
        look: &mut KernelLook,
        router: &Router,
        subnet: &Subnet,
    ) -> Result<(), DriveError> {
        let name = names::namespace(&self.0.bridge, &subnet.vpc);
        if namespace::number(&name).is_none() {
            look.differs(format!("namespace {name} is missing"));
            return Ok(());
        }
        let inside = namespace::open(&name)?;
        let saved = Saved::parse(&run(&inside, "iptables-save", &["-c"], "").await?);
        let link = leg_inside(subnet.tag);
        let others = |chain: &str| chain.split_once('-').is_some_and(|(leg, _)| leg != link && is_leg(leg));
        let aside = aside(&router.tables).await?;
        tell(look, &format!("{name}: "), &saved, &aside, |(_, chain)| !others(chain));
        routes(look, &name, &Kernel::inside(&inside)?, router, subnet).await
    }

    async fn segment(
        &self,
        look: &mut KernelLook,
        wanted: &Wanted,
        subnet: &Subnet,
    ) -> Result<(), DriveError> {
        let bridge = &self.0.bridge;
        let netlink = Netlink::open().map_err(net)?;
        let segments = Segments::new(netlink.clone(), bridge, wire(&self.0), self.0.tunnel_mtu);
        let seen = segments.describe(subnet.tag, &wanted.tunnels).await.map_err(net)?;
        seen.present.into_iter().for_each(|(place, text)| look.line(place, text, None));
        look.differs.extend(seen.differs);
        let (outside, on) = (names::leg_outside(bridge, subnet.tag), Names::new(bridge).bridge(subnet.tag));
        let leg = netlink.link(&outside).await.map_err(net)?;
        let on_index = netlink.index(&on).await.map_err(net)?;
        match leg {
            Some(leg) if leg.controller.is_some() && leg.controller == on_index => {
                let up = if leg.up { "up" } else { "down" };
                look.line(format!("bridge {on}"), format!("port {outside}: {up}, mtu {}", leg.mtu), None);
            }
            Some(_) => look.differs(format!("{outside} is no port of bridge {on}")),
            None => look.differs(format!("{outside} is missing")),
        }
        Ok(())
    }
}

fn is_leg(text: &str) -> bool {
    text.strip_prefix('s').is_some_and(|tag| u32::from_str_radix(tag, 16).is_ok())
}

/// Rules by table and chain, with their packets; of the kernel's own chains what becomes of packets at their end.
#[derive(Debug, Default)]
struct Saved {
    chains: BTreeMap<(String, String), Vec<(u64, String)>>,
}

impl Saved {
    fn parse(text: &str) -> Self {
        let mut saved = Self::default();
        let mut table = String::new();
        let mut policies = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                name.clone_into(&mut table);
            } else if let Some(rest) = line.strip_prefix(':') {
                let mut words = rest.split([' ', '[', ':']);
                let (Some(chain), Some(policy)) = (words.next(), words.next()) else { continue };
                let key = (table.clone(), chain.to_owned());
                saved.chains.entry(key.clone()).or_default();
                if policy != "-" {
                    let packets = words.nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
                    policies.push((key, packets, format!("policy {policy}")));
                }
            } else if let Some((packets, chain, rule)) = counted(line) {
                let key = (table.clone(), chain.to_owned());
                saved.chains.entry(key).or_default().push((packets, rule.to_owned()));
            }
        }
        for (key, packets, policy) in policies {
            saved.chains.entry(key).or_default().push((packets, policy));
        }
        saved
    }

    fn rules(&self, key: &(String, String)) -> Option<Vec<String>> {
        Some(self.chains.get(key)?.iter().map(|(_, rule)| rule.clone()).collect())
    }
}

/// These rules as the kernel prints them.
async fn aside(rules: &str) -> Result<Saved, DriveError> {
    let namespace = Namespace::new().map_err(|cause| DriveError::new("namespace", cause))?;
    run(&namespace, "iptables-restore", &["--wait", "10"], rules).await?;
    Ok(Saved::parse(&run(&namespace, "iptables-save", &["-c"], "").await?))
}

fn tell(
    look: &mut KernelLook,
    whose: &str,
    found: &Saved,
    wanted: &Saved,
    is_meant: impl Fn((&str, &str)) -> bool,
) {
    let keys: BTreeSet<_> = found.chains.keys().chain(wanted.chains.keys()).collect();
    for key in keys.into_iter().filter(|(table, chain)| is_meant((table.as_str(), chain.as_str()))) {
        let place = format!("{whose}iptables {} {}", key.0, key.1);
        for (packets, rule) in found.chains.get(key).into_iter().flatten() {
            look.line(&place, rule, Some(*packets));
        }
        match wanted.rules(key) {
            Some(wanted) => look.compare(&place, found.rules(key).as_deref(), &wanted),
            None => look.differs(format!("{place} is nobody's")),
        }
    }
}

async fn routes(
    look: &mut KernelLook,
    namespace: &str,
    kernel: &Kernel,
    router: &Router,
    subnet: &Subnet,
) -> Result<(), DriveError> {
    let (links, number) = (kernel.links().await?, table_of(subnet.tag));
    let index = |name: &str| links.get(name).map(|link| link.index);
    let place = format!("{namespace}: ip route table {number}");
    let wanted = router.routes.iter().filter(|route| route.table == number).filter_map(|route| {
        Held::new(route, (index(UP).unwrap_or_default(), NEXT_HOP), |tag| index(&leg_inside(tag)))
    });
    let name = |link: u32| {
        links.iter().find(|(_, known)| known.index == link).map_or("?", |(name, _)| name.as_str())
    };
    let words = |route: &Held| route.words(name);
    let wanted: Vec<String> =
        wanted.map(|route| words(&route)).collect::<BTreeSet<_>>().into_iter().collect();
    let found = kernel.routes().await?;
    let found = found.iter().filter(|route| route.table == number).map(words);
    let found: Vec<String> = found.collect::<BTreeSet<_>>().into_iter().collect();
    found.iter().for_each(|route| look.line(&place, format!("{route} proto {PROTOCOL}"), None));
    look.compare(&place, Some(&found), &wanted);
    let rule = (leg_inside(subnet.tag), number);
    let text = format!("iif {} lookup {number}", rule.0);
    match kernel.rules().await?.contains(&rule) {
        true => look.line(format!("{namespace}: ip rule"), text, None),
        false => look.differs(format!("{namespace}: ip rule lacks: {text}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_table_is_taken_apart() {
        let text = "*filter\n:FORWARD DROP [5:300]\n:outward - [0:0]\n[2:120] -A FORWARD -i u -j DROP\n\
                    [0:0] -A outward -j ACCEPT\nCOMMIT\n*nat\n:PREROUTING ACCEPT [1:60]\nCOMMIT\n";
        let saved = Saved::parse(text);
        let of = |table: &str, chain: &str| saved.chains[&(table.to_owned(), chain.to_owned())].clone();
        assert_eq!(of("filter", "FORWARD"), [(2, "-i u -j DROP".to_owned()), (5, "policy DROP".to_owned())]);
        assert_eq!(of("filter", "outward"), [(0, "-j ACCEPT".to_owned())]);
        assert_eq!(of("nat", "PREROUTING"), [(1, "policy ACCEPT".to_owned())]);
    }

    #[test]
    fn what_others_have_put_and_what_is_missing_is_told_by_chain() {
        let saved = |rules: &[&str]| {
            let rules: String = rules.iter().map(|rule| format!("[0:0] -A C {rule}\n")).collect();
            Saved::parse(&format!("*mangle\n:C - [0:0]\n{rules}COMMIT\n"))
        };
        let mut look = KernelLook::default();
        tell(
            &mut look,
            "ns: ",
            &saved(&["-j DROP", "-s 1.2.3.4/32 -j ACCEPT"]),
            &saved(&["-j DROP"]),
            |_| true,
        );
        assert_eq!(look.lines.len(), 2);
        assert_eq!(look.differs, ["ns: iptables mangle C has besides: -s 1.2.3.4/32 -j ACCEPT"]);
        let mut look = KernelLook::default();
        tell(&mut look, "", &saved(&[]), &Saved::default(), |_| true);
        assert_eq!(look.differs, ["iptables mangle C is nobody's"]);
    }

    #[test]
    fn chains_of_other_legs_are_known_by_their_names() {
        for (text, expected) in [("s1001", true), ("s", false), ("to", false), ("sx", false), ("has", false)]
        {
            assert_eq!(is_leg(text), expected, "{text}");
        }
    }
}
