//! RunInstances: resolve what is asked for, reserve room and addresses, commit in one transaction.
//!
//! Nothing slow stands in a request. The reservation in memory is given back by `Held` unless the rows
//! are committed.

mod mode;
mod ports;
mod prepare;
mod resolve;

pub use ports::{First, More, PortOrder};
pub use resolve::Touched;

use super::model::{Instance, ShutdownBehavior};
use super::said::Said;
use super::tokens::too_many;
use crate::app::admission::{Place, Wish};
use crate::app::cluster::ClusterLink;
use crate::app::security_group::group_not_found;
use crate::app::tag::Tags;
use crate::app::taken::Taken;
use crate::app::{App, Book, no_address};
use crate::store::launch::{Earlier, Launched, launch_insert_in_txn};
use crate::store::network_change::networks_turn_in_txn;
use crate::store::security_group::group_missing_in_txn;
use crate::store::{Engine, StoreError, Tx};
use futures_util::future::BoxFuture;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{InstanceId, MachineImageId, SubnetId};
use karri_proto::instance::MetadataOptions;
use karri_proto::network::NetworkMode;
use prepare::prepare;
use resolve::Resolved;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Another controller on the same database may take an address first; then others are tried.
const ADDRESS_ATTEMPTS_MAX: usize = 5;

/// What a user asks for, understood.
#[derive(Debug, Clone)]
pub struct Order {
    pub account: String,
    pub administrator: bool,
    pub request_id: String,
    /// The token and what it is bound to.
    pub client_token: Option<String>,
    pub request_digest: String,
    pub min: usize,
    pub max: usize,
    pub image_id: MachineImageId,
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub instance_type: String,
    pub key_name: Option<String>,
    /// None: any.
    pub zone: Option<String>,
    pub subnet_id: Option<String>,
    pub private_ip: Option<Ipv4Addr>,
    pub group_ids: Vec<String>,
    pub group_names: Vec<String>,
    /// Whether it gets a public address; None: as its subnet has it.
    pub public_address: Option<bool>,
    /// Of the interface that the subnet, the address and the groups are about.
    pub first: First,
    /// The other interfaces.
    pub more: Vec<More>,
    pub user_data_base64: Option<String>,
    /// The root disk's size, and for which device it was said.
    pub root_gib: Option<u64>,
    pub root_device: Option<String>,
    pub metadata: MetadataOptions,
    pub said: Said,
    pub shutdown_behavior: ShutdownBehavior,
    pub disable_api_stop: bool,
    pub disable_api_termination: bool,
    /// Whether `metadata` says on purpose what is said of tokens; else the image may.
    pub tokens_said: bool,
    pub hop_limit_said: bool,
    pub tags: Tags,
    pub disk_tags: Tags,
    pub port_tags: Tags,
}

/// Room and addresses that a launch holds; given back when dropped before the commit.
struct Held<'a> {
    app: &'a App,
    account: &'a str,
    places: Vec<Spot>,
    /// As many as were counted against the account's limit.
    counted: usize,
    committed: bool,
}

/// By place; `change` is the number of the networks' turn in which they were found.
pub struct PublicAddresses {
    change: i64,
    given: Vec<Option<Ipv4Addr>>,
}

/// A place with an address of the network that it is in.
pub struct Spot {
    place: Place,
    network: String,
    address: Ipv4Addr,
    /// It was taken for this launch.
    own: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut book = self.app.book();
        book.launching_add(self.account, -i64::try_from(self.counted).unwrap_or(0));
        if !self.committed {
            for Spot { place, network, address, own } in &self.places {
                book.ledger.release(&place.id);
                if *own {
                    book.addresses.release(network, *address);
                }
            }
        }
    }
}

impl App {
    /// The instances of the new reservation; those of the old one when the client repeats itself.
    ///
    /// `permit` decides about what the order's names turned out to stand for.
    pub async fn launch<'p>(
        &self,
        order: Order,
        permit: impl Fn(Touched) -> BoxFuture<'p, Result<(), Fault>>,
    ) -> Result<Vec<Arc<Instance>>, Fault> {
        // The second telling of a request that is under way waits for the first: it must not compete with it
        // for room. Across controllers the unique index decides.
        let _turn = match &order.client_token {
            Some(token) => Some(self.turns.take(&order.account, token).await),
            None => None,
        };
        if let Some(earlier) = self.earlier(&order).await? {
            return self.launched_before(&order, &earlier).await;
        }
        self.tokens_left(&order).await?;
        // Its subnet and groups stay while it is made.
        let _networks = self.networks_held.read().await;
        let resolved = self.resolve(&order).await?;
        self.check_ports(&order)?;
        permit(resolved.touched()).await?;
        self.check_modes(&order, &resolved)?;
        for _ in 0..ADDRESS_ATTEMPTS_MAX {
            let (launched, mut held, mut taken) = self.write(&order, &resolved).await?;
            match launched {
                Launched::New(instances) => {
                    held.committed = true;
                    taken.iter_mut().for_each(Taken::keep);
                    if order.has_more_ports() {
                        self.networks_changed(); // what leads to interfaces that were there before
                    }
                    return Ok(self.launched(instances));
                }
                Launched::Before(earlier) => return self.launched_before(&order, &earlier).await,
                Launched::AccountGone => return Err(account_gone()),
                Launched::GroupGone(id) => return Err(group_not_found(&id)),
                Launched::SubnetGone(id) => return Err(id.parse::<SubnetId>()?.not_found()),
                Launched::AddressTaken { network, address } => {
                    drop((held, taken));
                    self.book().addresses.take_this(&network, address); // somebody has it
                    self.follow().await?;
                }
            }
        }
        Err(Fault::internal("other controllers took every address that was tried"))
    }

    /// Reserves and writes. Who is alone on the database does so in that order: what is refused costs no
    /// writer's turn. Where other controllers may have taken the room, or what is left of the account's limit,
    /// that is looked at when nobody else can write.
    async fn write<'a>(
        &'a self,
        order: &'a Order,
        resolved: &Resolved,
    ) -> Result<(Launched, Held<'a>, Vec<Taken<'a>>), Fault> {
        let early = match self.store.engine() {
            Engine::Sqlite => Some(self.reserve(order, resolved)?),
            Engine::Postgres => None,
        };
        let (mut tx, change) = self.store.begin_numbered().await?;
        let held = match early {
            Some(held) => held,
            None => {
                self.catch_up_in_txn(&mut tx, change).await?;
                self.reserve(order, resolved)?
            }
        };
        // Another controller may have removed one.
        if self.store.engine() == Engine::Postgres {
            if let Some(gone) = group_missing_in_txn(&mut tx, &resolved.groups).await? {
                return Ok((Launched::GroupGone(gone), held, Vec::new()));
            }
            if let Some(gone) = resolved.subnet_missing_in_txn(&mut tx, &held.places).await? {
                return Ok((Launched::SubnetGone(gone), held, Vec::new()));
            }
        }
        let public = self.public_addresses_in_txn(&mut tx, order, resolved, &held.places).await?;
        let mut launch = prepare(self, order, resolved, &held.places, public);
        let mut taken = Vec::new();
        if order.has_more_ports() {
            self.ports_more_in_txn(&mut tx, order, resolved, &mut launch, &mut taken).await?;
        }
        self.ranges_anew_in_txn(&mut tx, &resolved.vpc, &mut launch.instances).await?;
        let launched = launch_insert_in_txn(&mut tx, self.store.engine(), change, launch).await?;
        if let Launched::New(instances) = &launched {
            if order.has_more_ports() {
                self.ports_hold_in_txn(&mut tx, order, instances).await?;
            }
            tx.commit().await.map_err(StoreError::from)?;
        }
        Ok((launched, held, taken))
    }

    /// For each instance that is to have one.
    async fn public_addresses_in_txn(
        &self,
        tx: &mut Tx,
        order: &Order,
        resolved: &Resolved,
        places: &[Spot],
    ) -> Result<Option<PublicAddresses>, Fault> {
        let wants = |spot: &Spot| {
            if self.mode_of(&spot.place.zone) != NetworkMode::Managed {
                return false;
            }
            let subnet = resolved.subnet(&spot.place.zone);
            order.public_address.unwrap_or(subnet.is_some_and(|subnet| subnet.map_public_ip))
        };
        let count = places.iter().filter(|spot| wants(spot)).count();
        if count == 0 {
            return Ok(None);
        }
        let change = networks_turn_in_txn(tx).await?;
        let mut left = self.own_addresses_in_txn(tx, count).await?.into_iter();
        let given = places.iter().map(|spot| if wants(spot) { left.next() } else { None }).collect();
        Ok(Some(PublicAddresses { change, given }))
    }

    async fn earlier(&self, order: &Order) -> Result<Option<Earlier>, Fault> {
        let Some(token) = &order.client_token else { return Ok(None) };
        // Where nobody else launches, every token that is remembered is here.
        if self.store.engine() == Engine::Sqlite && !self.tokens.is_used(&order.account, token) {
            return Ok(None);
        }
        Ok(self.store.launch_earlier(&order.account, token).await?)
    }

    /// Launches that are under way at the same time may each be the last one.
    async fn tokens_left(&self, order: &Order) -> Result<(), Fault> {
        if order.client_token.is_none() {
            return Ok(());
        }
        let limit = self.limits.client_tokens_per_account;
        let reached = match self.store.engine() {
            Engine::Sqlite => self.tokens.count_of_account(&order.account) >= limit,
            Engine::Postgres => self.store.client_tokens_reach(&order.account, limit).await?,
        };
        if reached { Err(too_many(limit)) } else { Ok(()) }
    }

    fn launched(&self, instances: Vec<Instance>) -> Vec<Arc<Instance>> {
        for instance in &instances {
            tracing::info!(
                request_id = instance.request_id,
                instance_id = %instance.id,
                account = instance.account,
                zone = instance.zone,
                instance_type = instance.spec.instance_type,
                "instance accepted"
            );
        }
        if self.store.engine() == Engine::Sqlite {
            instances.iter().for_each(|instance| self.tokens.remember_launch(instance));
        }
        let all: Vec<Arc<Instance>> = instances.iter().cloned().map(Arc::new).collect();
        self.adopt(instances);
        all
    }

    async fn launched_before(&self, order: &Order, earlier: &Earlier) -> Result<Vec<Arc<Instance>>, Fault> {
        if earlier.request_digest != order.request_digest {
            let sentence = "Arguments on this idempotent request are inconsistent with arguments used in \
                            previous request(s).";
            return Err(Fault::new(FaultCode::IdempotentParameterMismatch, sentence));
        }
        // From the store: the one who wrote them may be another controller, or not done with it yet.
        let mut instances = self.store.instances_of_reservation(&earlier.reservation).await?;
        instances.sort_by_key(|instance| instance.spec.launch_index); // as the first answer had them
        Ok(instances.into_iter().map(Arc::new).collect())
    }

    fn reserve<'a>(&'a self, order: &'a Order, resolved: &Resolved) -> Result<Held<'a>, Fault> {
        let clusters = self.clusters.list();
        let mut book = self.book();
        let max = self.within_limit(&book, order)?;
        let ids: Vec<InstanceId> = (0..max).map(|_| InstanceId::random(&mut rand::thread_rng())).collect();
        let zone = resolved.zone.as_deref();
        let able: Vec<&Arc<ClusterLink>> =
            clusters.iter().filter(|link| self.may_take(&link.hello(), order, resolved)).collect();
        let free = |link: &&Arc<ClusterLink>| {
            let within = resolved.network(&link.hello().zone, &link.name);
            let free = within.map_or(0, |(network, range)| match link.hello().mode {
                NetworkMode::System => u32::MAX, // the site's to count
                _ => book.addresses.free_count(&network, range),
            });
            (link.name.clone(), usize::try_from(free).unwrap_or(usize::MAX))
        };
        let any: HashMap<String, usize> = able.iter().map(|link| (link.name.clone(), usize::MAX)).collect();
        // One that is asked for is free or not.
        let is_counted = order.private_ip.is_none() && resolved.existing.is_none();
        let most = if is_counted { able.iter().map(free).collect() } else { any.clone() };
        let wish = Wish { need: resolved.need, zone, min: order.min, ids: &ids, most: Some(&most) };
        let without_addresses = Wish { most: Some(&any), ..wish };
        let kind = &order.instance_type;
        let places = book.ledger.reserve(wish).map_err(|_| refusal(&mut book, without_addresses, kind))?;
        let mut held =
            Held { app: self, account: &order.account, places: Vec::new(), counted: 0, committed: false };
        let mut short = None;
        for place in places {
            let within = resolved.network(&place.zone, &place.cluster).filter(|_| short.is_none());
            let Some((network, range)) = within else {
                book.ledger.release(&place.id);
                continue;
            };
            let existing = resolved.existing.as_ref().map(|first| first.port.private_ip);
            let address = match (existing, self.mode_of(&place.zone)) {
                (Some(address), _) => Ok(address),
                (None, NetworkMode::System) => Ok(Ipv4Addr::UNSPECIFIED),
                (None, _) => book.address(&network, range, order.private_ip),
            };
            match address {
                Ok(address) => {
                    held.places.push(Spot { place, network, address, own: existing.is_none() });
                }
                Err(fault) => {
                    book.ledger.release(&place.id);
                    short = Some(fault);
                }
            }
        }
        held.counted = held.places.len();
        book.launching_add(&order.account, i64::try_from(held.counted).unwrap_or(0));
        drop(book); // before `held` may be dropped, which takes the lock
        match short {
            _ if held.places.len() >= order.min => Ok(held),
            Some(fault) => Err(fault),
            None => Err(no_address()), // of zones that are too new
        }
    }

    /// How many may be launched at most.
    fn within_limit(&self, book: &Book, order: &Order) -> Result<usize, Fault> {
        let limit = self.limits.instances_per_account;
        let have = self.instances.count_of_account(&order.account) + book.launching(&order.account);
        let left = limit.saturating_sub(have);
        if order.min <= left {
            return Ok(order.max.min(left));
        }
        Err(Fault::new(
            FaultCode::InstanceLimitExceeded,
            format!(
                "You have requested more instances ({}) than your current instance limit of {limit} allows.",
                have + order.min
            ),
        ))
    }
}

/// What its keys would be answered now.
fn account_gone() -> Fault {
    Fault::new(FaultCode::AuthFailure, "AWS was not able to validate the provided access credentials")
}

/// Why there is no place: no address, or no room for the wish, which asks for none.
fn refusal(book: &mut Book, wish: Wish<'_>, kind: &str) -> Fault {
    if let Ok(places) = book.ledger.reserve(wish) {
        places.iter().for_each(|place| book.ledger.release(&place.id));
        return no_address();
    }
    full(kind, wish.zone, &book.ledger.zones_with_room(wish))
}

/// AWS's words. `others` are zones with room: none is named that could not help.
fn full(kind: &str, zone: Option<&str>, others: &[String]) -> Fault {
    let place = zone.map_or("any Availability Zone".to_owned(), |zone| {
        format!("the Availability Zone you requested ({zone})")
    });
    let mut sentence = format!(
        "We currently do not have sufficient {kind} capacity in {place}. Our system will be working on \
         provisioning additional capacity."
    );
    if zone.is_some() && !others.is_empty() {
        sentence += &format!(
            " You can currently get {kind} capacity by not specifying an Availability Zone in your request or \
             choosing {}.",
            others.join(", ")
        );
    }
    Fault::new(FaultCode::InsufficientInstanceCapacity, sentence)
}
