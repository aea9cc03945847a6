//! RunInstances: resolve what is asked for, reserve room and addresses, commit in one transaction.
//!
//! Nothing slow stands in a request. The reservation in memory is given back by `Held` unless the rows
//! are committed.

use super::model::{Instance, ShutdownBehavior};
use super::said::Said;
use super::state::State;
use crate::app::address::mac_of;
use crate::app::admission::{Place, Wish};
use crate::app::image::{Image, ImageKind};
use crate::app::instance_type::InstanceType;
use crate::app::tag::Tags;
use crate::app::{App, now_ms};
use crate::store::instance::{Earlier, Launch, Launched};
use crate::store::network::{SecurityGroup, Subnet, Vpc};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{InstanceId, MachineImageId, NetworkInterfaceId, ReservationId};
use karri_proto::instance::{
    BlobRef, BootSource, Desired, InstanceSpec, MetadataOptions, PortSpec, PublicKey,
};
use karri_proto::resources::Need;
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
    pub tags: Tags,
    pub disk_tags: Tags,
    pub port_tags: Tags,
}

/// What an order's names stand for.
struct Resolved {
    image: Image,
    boot: BootSource,
    kernel_id: Option<String>,
    ramdisk_id: Option<String>,
    need: Need,
    key: Option<PublicKey>,
    vpc: Vpc,
    subnets: Vec<Subnet>,
    groups: Vec<SecurityGroup>,
    zone: Option<String>,
}

/// What a launch uses that was there before it: permissions are about these.
#[derive(Debug)]
pub struct Touched<'a> {
    pub images: Vec<&'a str>,
    /// All that the launch may come to lie in.
    pub subnets: Vec<&'a str>,
    pub groups: Vec<&'a str>,
}

impl Resolved {
    fn touched(&self) -> Touched<'_> {
        let images = [Some(&self.image.id), self.kernel_id.as_ref(), self.ramdisk_id.as_ref()];
        let within = |subnet: &&Subnet| self.zone.as_ref().is_none_or(|zone| *zone == subnet.zone);
        let subnets = self.subnets.iter().filter(|subnet| subnet.is_default).filter(within);
        Touched {
            images: images.into_iter().flatten().map(String::as_str).collect(),
            subnets: subnets.map(|subnet| subnet.id.as_str()).collect(),
            groups: self.groups.iter().map(|group| group.id.as_str()).collect(),
        }
    }
}

/// Room and addresses that a launch holds; given back when dropped before the commit.
struct Held<'a> {
    app: &'a App,
    account: &'a str,
    places: Vec<(Place, Ipv4Addr)>,
    /// As many as were counted against the account's limit.
    counted: usize,
    committed: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut book = self.app.book();
        book.launching_add(self.account, -i64::try_from(self.counted).unwrap_or(0));
        if !self.committed {
            for (place, address) in &self.places {
                book.ledger.release(&place.id);
                book.addresses.release(&place.cluster, *address);
            }
        }
    }
}

impl App {
    /// The instances of the new reservation; those of the old one when the client repeats itself.
    ///
    /// `permit` decides about what the order's names turned out to stand for.
    pub async fn launch(
        &self,
        order: Order,
        permit: impl Fn(&Touched<'_>) -> Result<(), Fault>,
    ) -> Result<Vec<Arc<Instance>>, Fault> {
        // The second telling of a request that is under way waits for the first: it must not compete with it
        // for room. Across controllers the unique index decides.
        let _turn = match &order.client_token {
            Some(token) => Some(self.turns.take(&order.account, token).await),
            None => None,
        };
        if let Some(token) = &order.client_token
            && let Some(earlier) = self.store.launch_earlier(&order.account, token).await?
        {
            return self.launched_before(&order, &earlier).await;
        }
        let resolved = self.resolve(&order).await?;
        permit(&resolved.touched())?;
        for _ in 0..ADDRESS_ATTEMPTS_MAX {
            let mut held = self.reserve(&order, &resolved)?;
            let launch = prepare(self, &order, &resolved, &held.places);
            match self.store.launch_insert(launch).await? {
                Launched::New(instances) => {
                    held.committed = true;
                    return Ok(self.launched(instances));
                }
                Launched::Before(earlier) => return self.launched_before(&order, &earlier).await,
                Launched::AddressTaken => {
                    held.committed = true; // keep what is taken out of the book: somebody has it
                    for (place, _) in &held.places {
                        self.book().ledger.release(&place.id);
                    }
                    drop(held);
                    self.follow().await?;
                }
            }
        }
        Err(Fault::internal("other controllers took every address that was tried"))
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
        let mut book = self.book();
        let max = self.within_limit(&book, order)?;
        let ids: Vec<InstanceId> = (0..max).map(|_| InstanceId::random(&mut rand::thread_rng())).collect();
        let zone = resolved.zone.as_deref();
        let wish = Wish { need: resolved.need, zone, min: order.min, ids: &ids };
        let places = book.ledger.reserve(wish).map_err(|_| {
            let others = book.ledger.zones_with_room(resolved.need, order.min);
            full(&order.instance_type, zone, &others)
        })?;
        let mut held =
            Held { app: self, account: &order.account, places: Vec::new(), counted: 0, committed: false };
        let mut short = None;
        for place in places {
            if short.is_some() {
                book.ledger.release(&place.id);
                continue;
            }
            match book.address(&place.cluster, order.private_ip) {
                Ok(address) => held.places.push((place, address)),
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
            Some(fault) if held.places.len() < order.min => Err(fault),
            _ => Ok(held),
        }
    }

    /// How many may be launched at most.
    fn within_limit(&self, book: &crate::app::Book, order: &Order) -> Result<usize, Fault> {
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

    async fn resolve(&self, order: &Order) -> Result<Resolved, Fault> {
        let kind = self.catalogue.get(&order.instance_type).ok_or_else(|| {
            let name = &order.instance_type;
            Fault::invalid_parameter(format!("Invalid value '{name}' for InstanceType."))
        })?;
        if order.said.credits.is_some() && kind.credits.is_none() {
            let sentence = format!("The {} instance type does not support T2 Unlimited.", kind.name); // AWS's words
            return Err(Fault::new(FaultCode::InstanceCreditSpecificationNotSupported, sentence));
        }
        let image = self.image_for(order, order.image_id.as_str(), ImageKind::Machine).await?;
        kind.check_architecture(&image.definition.architecture)?;
        let kernel =
            self.part(order, order.kernel_id.as_ref(), &image.definition.kernel_id, ImageKind::Kernel);
        let (kernel, kernel_id) = kernel.await?;
        let given = order.ramdisk_id.as_ref();
        let ramdisk = self.part(order, given, &image.definition.ramdisk_id, ImageKind::Ramdisk);
        let (ramdisk, ramdisk_id) = ramdisk.await?;
        let network = self.network(order).await?;
        let firmware = image.definition.firmware;
        let root = image.definition.blob.clone();
        Ok(Resolved {
            need: need_of(kind, order, &image)?,
            boot: BootSource { root, kernel, ramdisk, firmware },
            key: self.key(order).await?,
            image,
            kernel_id,
            ramdisk_id,
            vpc: network.vpc,
            subnets: network.subnets,
            groups: network.groups,
            zone: network.zone,
        })
    }

    async fn image_for(&self, order: &Order, id: &str, kind: ImageKind) -> Result<Image, Fault> {
        let image = self.store.image_fetch(id).await?;
        let visible = image.filter(|image| image.is_visible_to(&order.account, order.administrator));
        let not_found =
            || Fault::new(FaultCode::InvalidAmiIdNotFound, format!("The image id '[{id}]' does not exist"));
        let image = visible.filter(|image| image.kind == kind).ok_or_else(not_found)?;
        if !image.available {
            let sentence = format!("The image ID '{id}' is not available");
            return Err(Fault::new(FaultCode::InvalidAmiIdUnavailable, sentence));
        }
        Ok(image)
    }

    /// A kernel or ramdisk: the one asked for, or the image's own.
    async fn part(
        &self,
        order: &Order,
        given: Option<&String>,
        own: &Option<String>,
        kind: ImageKind,
    ) -> Result<(Option<BlobRef>, Option<String>), Fault> {
        let Some(id) = given.or(own.as_ref()) else { return Ok((None, None)) };
        let part = self.image_for(order, id, kind).await?;
        Ok((Some(part.definition.blob), Some(part.id)))
    }

    async fn key(&self, order: &Order) -> Result<Option<PublicKey>, Fault> {
        let Some(name) = &order.key_name else { return Ok(None) };
        let pair = self.store.key_pair_fetch(&order.account, name).await?;
        let missing =
            || Fault::new(FaultCode::InvalidKeyPairNotFound, format!("The key pair '{name}' does not exist"));
        let pair = pair.ok_or_else(missing)?;
        Ok(Some(PublicKey { name: pair.name, openssh: pair.openssh }))
    }
}

struct Network {
    vpc: Vpc,
    subnets: Vec<Subnet>,
    groups: Vec<SecurityGroup>,
    zone: Option<String>,
}

impl App {
    async fn network(&self, order: &Order) -> Result<Network, Fault> {
        let vpcs = self.store.vpc_list(&order.account).await?;
        let none = || Fault::invalid_parameter("No default VPC for this user");
        let vpc = vpcs.into_iter().find(|vpc| vpc.is_default).ok_or_else(none)?;
        let subnets = self.store.subnet_list(&order.account).await?;
        let zone = self.zone(order, &subnets)?;
        let known = self.store.security_group_list(&order.account).await?;
        let groups = groups(order, &known)?;
        Ok(Network { vpc, subnets, groups, zone })
    }

    fn zone(&self, order: &Order, subnets: &[Subnet]) -> Result<Option<String>, Fault> {
        let asked = order.zone.as_deref().filter(|zone| !zone.is_empty() && *zone != "any");
        if let Some(zone) = asked
            && self.clusters.by_zone(zone).is_none()
        {
            return Err(Fault::invalid_parameter(format!("Invalid availability zone: [{zone}]")));
        }
        let Some(subnet_id) = &order.subnet_id else { return Ok(asked.map(str::to_owned)) };
        let id: karri_proto::ids::SubnetId = subnet_id.parse()?;
        let subnet = subnets.iter().find(|subnet| subnet.id == *subnet_id).ok_or_else(|| id.not_found())?;
        if asked.is_some_and(|zone| zone != subnet.zone) {
            return Err(Fault::invalid_parameter(format!(
                "The subnet ID '{id}' is not in the availability zone that was asked for"
            )));
        }
        Ok(Some(subnet.zone.clone()))
    }
}

fn groups(order: &Order, known: &[SecurityGroup]) -> Result<Vec<SecurityGroup>, Fault> {
    let mut found: Vec<SecurityGroup> = Vec::new();
    let asked = order.group_ids.iter().map(|id| (id, true));
    for (text, by_id) in asked.chain(order.group_names.iter().map(|name| (name, false))) {
        if by_id {
            text.parse::<karri_proto::ids::SecurityGroupId>()?;
        }
        let group = known.iter().find(|group| if by_id { group.id == *text } else { group.name == *text });
        let missing = || {
            let sentence = format!("The security group '{text}' does not exist");
            Fault::new(FaultCode::InvalidGroupNotFound, sentence)
        };
        let group = group.ok_or_else(missing)?;
        if !found.contains(group) {
            found.push(group.clone());
        }
    }
    if found.is_empty() {
        found.extend(known.iter().find(|group| group.name == "default").cloned());
    }
    Ok(found)
}

fn need_of(kind: &InstanceType, order: &Order, image: &Image) -> Result<Need, Fault> {
    let least_gib = image.definition.least_disk_gib();
    if let Some(device) = &order.root_device
        && *device != image.definition.root_device_name
    {
        return Err(Fault::new(
            FaultCode::InvalidBlockDeviceMapping,
            format!("Only the root device {} can be mapped, not {device}", image.definition.root_device_name),
        ));
    }
    match order.root_gib {
        Some(asked) if asked < least_gib => Err(Fault::new(
            FaultCode::InvalidBlockDeviceMapping,
            format!(
                "Volume of size {asked}GB is smaller than image '{}', expect size >= {least_gib}GB",
                image.id
            ),
        )),
        asked => {
            let disk_gib = asked.unwrap_or_else(|| kind.disk_gib.max(image.definition.disk_gib()));
            Ok(Need { disk_gib, ..kind.need() })
        }
    }
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

fn prepare(app: &App, order: &Order, resolved: &Resolved, places: &[(Place, Ipv4Addr)]) -> Launch {
    let reservation = ReservationId::random(&mut rand::thread_rng());
    let created_ms = now_ms();
    let subnets: HashMap<&str, &Subnet> =
        resolved.subnets.iter().filter(|s| s.is_default).map(|s| (s.zone.as_str(), s)).collect();
    let instances = places.iter().zip(0u32..).filter_map(|((place, address), index)| {
        // A zone without a subnet cannot be: every account has one in each.
        let subnet = subnets.get(place.zone.as_str())?;
        let port = port_of(resolved, subnet, *address);
        let spec = spec_of(app, order, resolved, place, port, &reservation, index, created_ms);
        let mut instance = instance_of(app, order, place, spec, &reservation, created_ms);
        instance.said.volume_type.get_or_insert_with(|| resolved.image.definition.root.volume_type.clone());
        Some(instance)
    });
    Launch {
        instances: instances.collect(),
        account: order.account.clone(),
        client_token: order.client_token.clone(),
        request_digest: order.request_digest.clone(),
        created_ms,
        user_data_base64: order.user_data_base64.clone(),
        disk_tags: order.disk_tags.clone(),
        port_tags: order.port_tags.clone(),
        reservation,
    }
}

fn port_of(resolved: &Resolved, subnet: &Subnet, address: Ipv4Addr) -> PortSpec {
    let group = |group: &SecurityGroup| Some((group.id.parse().ok()?, group.name.clone()));
    let never = "ids in the store were parsed before they came there";
    PortSpec {
        id: NetworkInterfaceId::random(&mut rand::thread_rng()),
        mac: mac_of(address),
        private_ip: address,
        subnet_id: subnet.id.parse().expect(never),
        subnet_cidr: subnet.cidr.clone(),
        vpc_id: resolved.vpc.id.parse().expect(never),
        vpc_cidr: resolved.vpc.cidr.clone(),
        gateway: subnet.gateway,
        groups: resolved.groups.iter().filter_map(group).collect(),
    }
}

#[allow(clippy::too_many_arguments)] // one value from eight sources, called once
fn spec_of(
    app: &App,
    order: &Order,
    resolved: &Resolved,
    place: &Place,
    port: PortSpec,
    reservation: &ReservationId,
    launch_index: u32,
    created_ms: i64,
) -> InstanceSpec {
    InstanceSpec {
        instance_type: order.instance_type.clone(),
        need: resolved.need,
        boot: resolved.boot.clone(),
        hostname: private_dns_name(port.private_ip, &app.region),
        ports: vec![port],
        user_data_base64: None,
        key: resolved.key.clone(),
        metadata: metadata_of(order, &resolved.image),
        image_id: order.image_id.clone(),
        kernel_id: resolved.kernel_id.clone(),
        ramdisk_id: resolved.ramdisk_id.clone(),
        architecture: resolved.image.definition.architecture.clone(),
        reservation_id: reservation.clone(),
        launch_index,
        launched_at_unix_ms: created_ms,
        region: app.region.clone(),
        zone: place.zone.clone(),
        root_device_name: resolved.image.definition.root_device_name.clone(),
        tags: Vec::new(),
    }
}

/// An image may ask for tokens where the launch says nothing.
fn metadata_of(order: &Order, image: &Image) -> MetadataOptions {
    let by_image = !order.tokens_said && image.definition.requires_imds_v2();
    MetadataOptions { tokens_required: order.metadata.tokens_required || by_image, ..order.metadata.clone() }
}

/// `ip-172-31-0-4.REGION.compute.internal`
pub fn private_dns_name(address: Ipv4Addr, region: &str) -> String {
    let [a, b, c, d] = address.octets();
    match region {
        "us-east-1" => format!("ip-{a}-{b}-{c}-{d}.ec2.internal"),
        _ => format!("ip-{a}-{b}-{c}-{d}.{region}.compute.internal"),
    }
}

fn instance_of(
    app: &App,
    order: &Order,
    place: &Place,
    spec: InstanceSpec,
    reservation: &ReservationId,
    created_ms: i64,
) -> Instance {
    let limit_ms = i64::try_from(app.limits.pending_secs.saturating_mul(1000)).unwrap_or(i64::MAX);
    Instance {
        id: place.id.clone(),
        change: 0,
        account: order.account.clone(),
        reservation: reservation.clone(),
        cluster: place.cluster.clone(),
        zone: place.zone.clone(),
        client_token: order.client_token.clone(),
        spec: Arc::new(spec),
        has_user_data: order.user_data_base64.is_some(),
        tags: order.tags.clone(),
        shutdown_behavior: order.shutdown_behavior,
        disable_api_stop: order.disable_api_stop,
        disable_api_termination: order.disable_api_termination,
        said: order.said.clone(),
        launched_ms: created_ms,
        desired: Desired::Running,
        generation: 1,
        reboots: 0,
        force: false,
        request_id: order.request_id.clone(),
        state: State::Pending,
        acknowledged: 0,
        forgotten: false,
        node: None,
        reason: None,
        transition: String::new(),
        deadline_ms: Some(created_ms.saturating_add(limit_ms)),
        purge_ms: None,
    }
}
