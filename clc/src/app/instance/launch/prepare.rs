//! The rows of a launch, from what was resolved and reserved. Ids and the time are made here; nothing else
//! comes from outside.

use super::mode::{forwarded_of, forwarded_tag};
use super::resolve::Resolved;
use super::{Order, PublicAddresses, Spot};
use crate::app::address::mac_of;
use crate::app::admission::Place;
use crate::app::image::Image;
use crate::app::instance::{Instance, State};
use crate::app::mode::flat_mac;
use crate::app::names::{private_dns_name, private_domain};
use crate::app::public_address::own::own_public_port;
use crate::app::{App, now_ms, steady_ms};
use crate::store::launch::Launch;
use crate::store::network::SecurityGroup;
use crate::store::subnet::Subnet;
use karri_proto::ids::{NetworkInterfaceId, ReservationId};
use karri_proto::instance::{Desired, InstanceSpec, MetadataOptions, PortSpec};
use karri_proto::network::NetworkMode;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Of images that ask for tokens.
const IMDS_V2_HOP_LIMIT: u8 = 2;

pub fn prepare(
    app: &App,
    order: &Order,
    resolved: &Resolved,
    places: &[Spot],
    public: Option<PublicAddresses>,
) -> Launch {
    let reservation = ReservationId::random(&mut rand::thread_rng());
    let created_ms = now_ms();
    let instances = places.iter().zip(0u32..).filter_map(|(Spot { place, address, .. }, index)| {
        let subnet = resolved.subnet(&place.zone)?; // no place without one was taken
        let mode = app.mode_of(&place.zone);
        let existing = resolved.existing.as_ref().map(|first| first.port.clone());
        let mut port = existing.unwrap_or_else(|| port_of(resolved, subnet, &mode, *address));
        port.forwarded = forwarded_of(order, &mode, &port);
        let own = public.as_ref().and_then(|public| *public.given.get(index as usize)?);
        if let Some(ip) = own {
            port.public = Some(own_public_port(ip, &app.region, &resolved.vpc));
        }
        let spec = spec_of(app, order, resolved, place, port, &reservation, index, created_ms);
        let mut instance = instance_of(app, order, place, spec, &reservation, created_ms);
        let image = &resolved.image.definition;
        instance.said.volume_type.get_or_insert_with(|| image.root.volume_type.clone());
        instance.said.public_address = own.is_some();
        instance.said.paravirtual = image.is_paravirtual();
        instance.said.threads_per_core = Some(resolved.threads_per_core);
        Some(instance)
    });
    Launch {
        instances: instances.collect(),
        networks_change: public.as_ref().map(|public| public.change),
        account: order.account.clone(),
        client_token: order.client_token.clone(),
        request_digest: order.request_digest.clone(),
        created_ms,
        user_data_base64: order.user_data_base64.clone(),
        disk_tags: order.disk_tags.clone(),
        port_tags: order.port_tags.clone(),
        taken: resolved.existing.iter().map(|first| first.port.id.clone()).collect(),
        reservation,
    }
}

fn port_of(resolved: &Resolved, subnet: &Subnet, mode: &NetworkMode, address: Ipv4Addr) -> PortSpec {
    let group = |group: &SecurityGroup| Some((group.id.parse().ok()?, group.name.clone()));
    let never = "ids in the store were parsed before they came there";
    let id = NetworkInterfaceId::random(&mut rand::thread_rng());
    PortSpec {
        mac: if subnet.is_flat() { flat_mac(mode, &id, address) } else { mac_of(address) },
        id,
        private_ip: address,
        subnet_id: subnet.id.parse().expect(never),
        segment: subnet.tag,
        subnet_cidr: subnet.cidr.clone(),
        vpc_id: resolved.vpc.id.parse().expect(never),
        vpc_cidr: resolved.vpc.cidr.clone(),
        more_vpc_cidrs: resolved.vpc.further_ranges(),
        gateway: subnet.gateway,
        groups: resolved.groups.iter().filter_map(group).collect(),
        public: None,
        learns_address: *mode == NetworkMode::System,
        forwarded: Vec::new(),
        device_index: 0,
        secondary: Vec::new(),
        source_dest_check: true,
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
        hostname: hostname_of(place, &port, &app.region),
        ports: vec![port],
        user_data_base64: None,
        key: resolved.key.clone(),
        metadata: metadata_of(order, &resolved.image),
        image_id: order.image_id.clone(),
        kernel_id: resolved.kernel_id.clone(),
        ramdisk_id: resolved.ramdisk_id.clone(),
        architecture: resolved.image.definition.architecture.clone(),
        paravirtual: resolved.image.definition.is_paravirtual(),
        reservation_id: reservation.clone(),
        launch_index,
        launched_at_unix_ms: created_ms,
        region: app.region.clone(),
        zone: place.zone.clone(),
        root_device_name: resolved.image.definition.root_device_name.clone(),
        tags: Vec::new(),
    }
}

/// An image may ask for tokens where the launch says nothing, and lets containers have them then, as on EC2.
fn metadata_of(order: &Order, image: &Image) -> MetadataOptions {
    let mut options = order.metadata.clone();
    if image.definition.requires_imds_v2() {
        options.tokens_required |= !order.tokens_said;
        if !order.hop_limit_said {
            options.hop_limit = IMDS_V2_HOP_LIMIT;
        }
    }
    options
}

/// By its address, or by its id where that is not known yet: EC2 has both forms.
fn hostname_of(place: &Place, port: &PortSpec, region: &str) -> String {
    match port.learns_address {
        true => format!("{}.{}", place.id, private_domain(region)),
        false => private_dns_name(port.private_ip, region),
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
    let tags = [order.tags.clone(), spec.ports.first().map(forwarded_tag).unwrap_or_default()].concat();
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
        tags,
        shutdown_behavior: order.shutdown_behavior,
        disable_api_stop: order.disable_api_stop,
        disable_api_termination: order.disable_api_termination,
        said: order.said.clone(),
        launched_ms: created_ms,
        desired: Desired::Running,
        generation: 1,
        reboots: 0,
        capture: None,
        captured: None,
        force: false,
        request_id: order.request_id.clone(),
        state: State::Pending,
        acknowledged: 0,
        forgotten: false,
        node: None,
        reason: None,
        transition: String::new(),
        deadline_ms: Some(steady_ms().saturating_add(limit_ms)),
        purge_ms: None,
    }
}
