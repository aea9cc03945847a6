//! Links, addresses, routes and rules of one namespace through rtnetlink: what there is, and single changes.
//! Nothing here knows what is wanted.

use crate::app::router::{MAIN_TABLE, Route, Via};
use crate::drive::DriveError;
use futures_util::TryStreamExt;
use karri_net::{Namespace, addresses_ask, dump, links_ask, speaks_ipv6};
use karri_proto::network::Net4;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Error, Handle, IpVersion, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
/// By this number `ip route` tells whose a route is.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(super::PROTOCOL);
/// After the kernel's own table of local addresses, before the main one.
const RULE_PRIORITY: u32 = 1000;
const NO_ENTRY: [i32; 3] = [-2, -3, -19];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    /// The other end of a pair, in its own namespace's numbering.
    pub peer: Option<u32>,
    pub up: bool,
    pub mtu: u32,
    pub group: u32,
    pub mac: Vec<u8>,
    /// The bridge that it is a port of.
    pub controller: Option<u32>,
    pub ipv6: bool,
}

impl From<&LinkMessage> for Link {
    fn from(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            peer: None,
            up: message.header.flags.contains(LinkFlags::Up),
            mtu: 0,
            group: 0,
            mac: Vec::new(),
            controller: None,
            ipv6: speaks_ipv6(message),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Link(index) => link.peer = Some(*index),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Group(group) => link.group = *group,
                LinkAttribute::Address(mac) => link.mac.clone_from(mac),
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                _ => {}
            }
        }
        link
    }
}

/// A route of ours as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub table: u32,
    pub to: Net4,
    /// Link and next hop; none of both: see `kind`.
    pub link: Option<u32>,
    pub next: Option<Ipv4Addr>,
    pub is_unreachable: bool,
}

/// By their names.
pub type Links = BTreeMap<String, Link>;
/// By link: what it has.
pub type Addresses = BTreeSet<(u32, Ipv4Addr, u8)>;

#[derive(Debug, Clone)]
pub struct Kernel {
    handle: Handle,
}

/// One end of a pair that is to be made.
#[derive(Debug)]
pub struct End<'a> {
    pub name: &'a str,
    pub mac: Option<[u8; 6]>,
}

fn failed(what: impl Into<String>) -> impl FnOnce(Error) -> DriveError {
    let what = what.into();
    move |cause| DriveError::new(what, cause)
}

async fn in_time<T>(work: impl Future<Output = Result<T, DriveError>>) -> Result<T, DriveError> {
    tokio::time::timeout(TIMEOUT, work).await.map_err(|_| DriveError::new("netlink", "no answer in time"))?
}

impl Kernel {
    /// The one of this process.
    pub fn here() -> Result<Self, DriveError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|cause| DriveError::new("netlink", cause))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    pub fn inside(namespace: &Namespace) -> Result<Self, DriveError> {
        let runtime = tokio::runtime::Handle::current();
        let failed = |cause: std::io::Error| DriveError::new("netlink in a namespace", cause);
        let connected = namespace.run(|| {
            let _entered = runtime.enter();
            rtnetlink::new_connection()
        });
        let (connection, handle, _) = connected.map_err(failed)?.map_err(failed)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    pub async fn links(&self) -> Result<Links, DriveError> {
        in_time(async {
            let messages = dump(|| links_ask(&self.handle).execute()).await.map_err(failed("links"))?;
            Ok(messages.iter().map(|message| (name_of(message), Link::from(message))).collect())
        })
        .await
    }

    /// Those of these names that there are, each asked for by itself: the host may have many others.
    pub async fn links_named(&self, names: &[String]) -> Result<Links, DriveError> {
        in_time(async {
            let mut links = Links::new();
            for name in names {
                match links_ask(&self.handle).match_name(name).execute().try_next().await {
                    Ok(Some(message)) => drop(links.insert(name.clone(), Link::from(&message))),
                    Ok(None) => {}
                    Err(Error::NetlinkError(told)) if NO_ENTRY.contains(&told.raw_code()) => {}
                    Err(error) => return Err(failed(name.as_str())(error)),
                }
            }
            Ok(links)
        })
        .await
    }

    /// Here `near`, in `namespace` `far`; both up only when somebody says so.
    pub async fn pair_make(
        &self,
        near: &End<'_>,
        far: &End<'_>,
        namespace: &Namespace,
        group: u32,
    ) -> Result<(), DriveError> {
        let mut peer = LinkMessageBuilder::<LinkUnspec>::new().name(far.name);
        if let Some(mac) = far.mac {
            peer = peer.address(mac.to_vec());
        }
        let peer = peer.setns_by_fd(namespace.as_fd().as_raw_fd()).build();
        let mut pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(near.name)
            .link_group(group)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        if let Some(mac) = near.mac {
            pair = pair.address(mac.to_vec());
        }
        in_time(async { self.handle.link().add(pair.build()).execute().await.map_err(failed(near.name)) })
            .await
    }

    pub async fn link_set(&self, index: u32, mtu: u32, controller: Option<u32>) -> Result<(), DriveError> {
        let mut message = LinkUnspec::new_with_index(index).mtu(mtu).up();
        if let Some(bridge) = controller {
            message = message.controller(bridge);
        }
        let what = format!("link {index}");
        in_time(async { self.handle.link().set(message.build()).execute().await.map_err(failed(what)) }).await
    }

    /// One that is gone already is no error.
    pub async fn link_delete(&self, index: u32) -> Result<(), DriveError> {
        in_time(async { tolerate(self.handle.link().del(index).execute().await, format!("link {index}")) })
            .await
    }

    pub async fn addresses(&self) -> Result<Addresses, DriveError> {
        in_time(async {
            let messages =
                dump(|| addresses_ask(&self.handle).execute()).await.map_err(failed("addresses"))?;
            let mut found = Addresses::new();
            for message in &messages {
                let local = message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                    _ => None,
                });
                found.extend(local.map(|address| (message.header.index, address, message.header.prefix_len)));
            }
            Ok(found)
        })
        .await
    }

    /// `of_link`: no packet to elsewhere is sent from it.
    pub async fn address_add(
        &self,
        link: u32,
        address: Ipv4Addr,
        prefix: u8,
        of_link: bool,
    ) -> Result<(), DriveError> {
        let mut request = self.handle.address().add(link, IpAddr::V4(address), prefix).replace();
        if of_link {
            request.message_mut().header.scope = AddressScope::Link;
        }
        in_time(async { request.execute().await.map_err(failed(format!("address {address}"))) }).await
    }

    /// Those that we have put, in whatever table.
    pub async fn routes(&self) -> Result<BTreeSet<Held>, DriveError> {
        in_time(async {
            let all = || RouteMessageBuilder::<Ipv4Addr>::new().build();
            let mut held = BTreeSet::new();
            let ask = || self.handle.route().get(all()).execute();
            for message in dump(ask).await.map_err(failed("routes"))? {
                if message.header.protocol == PROTOCOL {
                    held.insert(Held::from(&message));
                }
            }
            Ok(held)
        })
        .await
    }

    /// `replace`: one of ours to the same network is there.
    async fn route_put(&self, route: &Held, replace: bool) -> Result<(), DriveError> {
        let what = format!("route {} in table {}", route.to, route.table);
        let request = self.handle.route().add(route.message());
        let request = if replace { request.replace() } else { request };
        in_time(async { request.execute().await.map_err(failed(what)) }).await
    }

    async fn route_delete(&self, route: &Held) -> Result<(), DriveError> {
        let what = format!("route {} in table {}", route.to, route.table);
        in_time(async { tolerate(self.handle.route().del(route.message()).execute().await, what) }).await
    }

    /// From these of ours to those, without a look at what there is.
    pub async fn routes_change(
        &self,
        found: &BTreeSet<Held>,
        wanted: &BTreeSet<Held>,
    ) -> Result<(), DriveError> {
        let place = |route: &Held| (route.table, route.to);
        let held: BTreeSet<_> = found.iter().map(place).collect();
        for route in wanted.difference(found) {
            self.route_put(route, held.contains(&place(route))).await?;
        }
        let needed: BTreeSet<_> = wanted.iter().map(place).collect();
        for route in found.difference(wanted).filter(|route| !needed.contains(&place(route))) {
            self.route_delete(route).await?;
        }
        Ok(())
    }

    /// Of our routes for which `is_ours` says so there are these and no others. `true`: something had to be done.
    pub async fn routes_become(
        &self,
        wanted: &BTreeSet<Held>,
        is_ours: impl Fn(&Held) -> bool,
    ) -> Result<bool, DriveError> {
        let found: BTreeSet<Held> = self.routes().await?.into_iter().filter(is_ours).collect();
        self.routes_change(&found, wanted).await?;
        Ok(found != *wanted)
    }

    /// Tables by the links whose packets are looked up there.
    pub async fn rules(&self) -> Result<BTreeSet<(String, u32)>, DriveError> {
        in_time(async {
            let mut rules = BTreeSet::new();
            let ask = || self.handle.rule().get(IpVersion::V4).execute();
            for message in dump(ask).await.map_err(failed("rules"))? {
                rules.extend(rule_of(&message));
            }
            Ok(rules)
        })
        .await
    }

    pub async fn rule_add(&self, link: &str, table: u32) -> Result<(), DriveError> {
        let rule =
            self.handle.rule().add().v4().input_interface(link).table_id(table).priority(RULE_PRIORITY);
        let request = rule.action(RuleAction::ToTable);
        in_time(async { request.execute().await.map_err(failed(format!("rule for {link}"))) }).await
    }

    pub async fn rule_delete(&self, link: &str, table: u32) -> Result<(), DriveError> {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![
            RuleAttribute::Iifname(link.to_owned()),
            RuleAttribute::Table(table),
            RuleAttribute::Priority(RULE_PRIORITY),
        ];
        let what = format!("rule for {link}");
        in_time(async { tolerate(self.handle.rule().del(message).execute().await, what) }).await
    }
}

fn name_of(message: &LinkMessage) -> String {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    name.unwrap_or_default()
}

fn tolerate(result: Result<(), Error>, what: String) -> Result<(), DriveError> {
    match result {
        Err(Error::NetlinkError(error)) if NO_ENTRY.contains(&error.raw_code()) => Ok(()),
        other => other.map_err(failed(what)),
    }
}

fn rule_of(message: &RuleMessage) -> Option<(String, u32)> {
    let mut link = None;
    let (mut table, mut priority) = (u32::from(message.header.table), 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Iifname(name) => link = Some(name.clone()),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => priority = *number,
            _ => {}
        }
    }
    link.filter(|_| priority == RULE_PRIORITY).map(|link| (link, table))
}

impl Held {
    /// `link`: the index of a leg, and of the way up.
    pub fn new(route: &Route, up: (u32, Ipv4Addr), link: impl Fn(u32) -> Option<u32>) -> Option<Self> {
        let mut held =
            Self { table: route.table, to: route.to, link: None, next: None, is_unreachable: false };
        match route.via {
            Via::Leg(tag) => held.link = Some(link(tag)?),
            Via::Port(tag, address) => (held.link, held.next) = (Some(link(tag)?), Some(address)),
            Via::Up => (held.link, held.next) = (Some(up.0), Some(up.1)),
            Via::Unreachable => held.is_unreachable = true,
            Via::Blackhole => {}
        }
        Some(held)
    }

    /// In the host's own table: what is on the wire of a link.
    pub fn on_link(address: Ipv4Addr, link: u32) -> Self {
        let to = Net4 { address, prefix: 32 };
        Self { table: MAIN_TABLE, to, link: Some(link), next: None, is_unreachable: false }
    }

    /// Likewise, what is behind a router.
    pub fn by(address: Ipv4Addr, link: u32, next: Ipv4Addr) -> Self {
        Self { next: Some(next), ..Self::on_link(address, link) }
    }

    /// As `ip route` prints it, but for whose it is.
    pub fn words<'a>(&self, name: impl Fn(u32) -> &'a str) -> String {
        let to = self.to;
        match (self.link, self.next) {
            (Some(link), Some(next)) => format!("{to} via {next} dev {}", name(link)),
            (Some(link), None) => format!("{to} dev {}", name(link)),
            (None, _) if self.is_unreachable => format!("unreachable {to}"),
            (None, _) => format!("blackhole {to}"),
        }
    }

    fn message(&self) -> RouteMessage {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(self.to.address, self.to.prefix)
            .table_id(self.table)
            .protocol(PROTOCOL);
        let route = match (self.link, self.next) {
            (Some(link), Some(next)) => route.output_interface(link).gateway(next).onlink(),
            (Some(link), None) => route.output_interface(link).scope(RouteScope::Link),
            (None, _) if self.is_unreachable => route.kind(RouteType::Unreachable),
            (None, _) => route.kind(RouteType::BlackHole),
        };
        route.build()
    }
}

impl From<&RouteMessage> for Held {
    fn from(message: &RouteMessage) -> Self {
        let mut held = Self {
            table: u32::from(message.header.table),
            to: Net4 { address: Ipv4Addr::UNSPECIFIED, prefix: message.header.destination_prefix_length },
            link: None,
            next: None,
            is_unreachable: message.header.kind == RouteType::Unreachable,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(table) => held.table = *table,
                RouteAttribute::Destination(RouteAddress::Inet(address)) => held.to.address = *address,
                RouteAttribute::Oif(link) => held.link = Some(*link),
                RouteAttribute::Gateway(RouteAddress::Inet(next)) => held.next = Some(*next),
                _ => {}
            }
        }
        held
    }
}
