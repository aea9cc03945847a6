//! One guest of one kind, from launch to nothing.

use crate::cloud::{Cloud, GATEWAY, SUBNET};
use crate::node::Node;
use crate::{Arguments, eventually, proof};
use anyhow::{Context, bail, ensure};
use karri_proto::ids::{InstanceId, MachineImageId, NetworkInterfaceId, ReservationId, SecurityGroupId};
use karri_proto::instance::{
    BootSource, Desired, Firmware, InstanceIntent, InstanceSpec, MetadataOptions, Phase, PortSpec,
};
use karri_proto::resources::Need;
use tokio::process::Command;

/// The lab's DHCP server knows these: `MAC_PREFIX` and two digits get `ADDRESS_PREFIX` and the number.
const MAC_PREFIX: &str = "02:00:00:00:00:";
const ADDRESS_PREFIX: &str = "172.31.0.";
const FIRST_ADDRESS: usize = 5;
const READY: &str = "karri-tiny: ready";

fn intent(cloud: &Cloud, kind: &str, number: usize) -> anyhow::Result<InstanceIntent> {
    let mut rng = rand::thread_rng();
    let last = FIRST_ADDRESS + number;
    let port = PortSpec {
        id: NetworkInterfaceId::random(&mut rng),
        mac: format!("{MAC_PREFIX}{last:02}"),
        private_ip: format!("{ADDRESS_PREFIX}{last}").parse()?,
        subnet_id: "subnet-0123456789abcdef0".parse()?,
        segment: 0,
        subnet_cidr: SUBNET.into(),
        vpc_id: "vpc-0123456789abcdef0".parse()?,
        vpc_cidr: "172.31.0.0/16".into(),
        more_vpc_cidrs: Vec::new(),
        gateway: GATEWAY.parse()?,
        groups: vec![(SecurityGroupId::random(&mut rng), "default".into())],
        public: None,
        learns_address: false,
        forwarded: Vec::new(),
        device_index: 0,
        secondary: Vec::new(),
        source_dest_check: true,
    };
    let spec = InstanceSpec {
        instance_type: "t3.nano".into(),
        need: Need { vcpus: 1, memory_mib: 128, disk_gib: 1 },
        boot: BootSource {
            root: cloud.root.clone(),
            kernel: Some(cloud.kernel.clone()),
            ramdisk: Some(cloud.ramdisk.clone()),
            firmware: Firmware::Bios,
        },
        hostname: format!("lab-{kind}.karri.internal"),
        ports: vec![port],
        user_data_base64: None,
        key: None,
        metadata: MetadataOptions::default(),
        image_id: MachineImageId::random(&mut rng),
        kernel_id: None,
        ramdisk_id: None,
        architecture: "x86_64".into(),
        paravirtual: false,
        reservation_id: ReservationId::random(&mut rng),
        launch_index: 0,
        launched_at_unix_ms: 0,
        region: "karri".into(),
        zone: "lab".into(),
        root_device_name: "/dev/sda1".into(),
        tags: Vec::new(),
    };
    Ok(InstanceIntent {
        id: InstanceId::random(&mut rng),
        account: "000000000001".into(),
        generation: 1,
        attempt: 1,
        desired: Desired::Running,
        reboots: 0,
        force: false,
        capture: None,
        request_id: format!("lab-{kind}"),
        spec,
    })
}

/// The whole life of one guest.
pub async fn prove(cloud: &Cloud, arguments: &Arguments, kind: &str, number: usize) -> anyhow::Result<()> {
    let name = |what: &str| format!("{kind}: {what}");
    let node = proof(&name("karri-nc knows its hypervisor"), Node::start(cloud, arguments, kind)).await?;
    let first = intent(cloud, kind, number)?;
    let id = &first.id;
    let address = first.spec.ports[0].private_ip;
    let boots = async {
        node.put(&first).await?;
        node.reaches(&first, Phase::Running).await
    };
    proof(&name("launched, reported running"), boots).await?;
    let domain = domain(arguments, id).await?;
    ensure!(domain.contains(&os_type(kind)?), "the guest is not of the kind {kind}: {domain}");
    proof(&name("the console shows that it is ready"), node.console_shows(id, READY, 1)).await?;
    let named = format!("karri-tiny: lab-{kind} {address}");
    proof(&name("it has its address, and its name from metadata"), node.console_shows(id, &named, 1)).await?;

    let adopted = async {
        node.kill().await?;
        let node = Node::start(cloud, arguments, kind).await?;
        node.reaches(&first, Phase::Running).await?;
        ensure!(domain_number(arguments, id).await? == domain_number_of(&domain)?, "it was started anew");
        node.console_shows(id, READY, 1).await?;
        Ok(node)
    };
    let node = proof(&name("karri-nc killed and started again: adopted"), adopted).await?;

    let again = InstanceIntent { generation: 2, reboots: 1, ..first.clone() };
    let rebooted = async {
        node.put(&again).await?;
        let done = || async { Ok(node.report(id).await?.filter(|report| report.reboots == 1)) };
        eventually(done).await?;
        node.console_shows(id, READY, 2).await?;
        node.reaches(&again, Phase::Running).await
    };
    proof(&name("rebooted, ready again"), rebooted).await?;

    let last = InstanceIntent { generation: 3, desired: Desired::Terminated, ..again };
    let gone = async {
        node.put(&last).await?;
        node.reaches(&last, Phase::Gone).await?;
        node.forget(id).await?;
        nothing_left(cloud, arguments, id).await
    };
    proof(&name("terminated, nothing is left"), gone).await?;
    node.kill().await
}

fn os_type(kind: &str) -> anyhow::Result<String> {
    match kind {
        "pv" => Ok(">linux</type>".into()),
        "pvh" => Ok(">xenpvh</type>".into()),
        "hvm" => Ok(">hvm</type>".into()),
        other => bail!("{other} is no kind of Xen guest"),
    }
}

async fn output(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output().await.with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn domain(arguments: &Arguments, id: &InstanceId) -> anyhow::Result<String> {
    output("virsh", &["-q", "-c", &arguments.uri, "dumpxml", &format!("karri-{id}")]).await
}

/// Every start of a Xen domain has another number.
fn domain_number_of(xml: &str) -> anyhow::Result<String> {
    let number = xml.split_once("id='").and_then(|(_, rest)| rest.split_once('\'')).map(|(number, _)| number);
    Ok(number.context("the domain does not run")?.to_owned())
}

async fn domain_number(arguments: &Arguments, id: &InstanceId) -> anyhow::Result<String> {
    domain_number_of(&domain(arguments, id).await?)
}

/// No domain, no interface, no rule, no file, no console log.
async fn nothing_left(cloud: &Cloud, arguments: &Arguments, id: &InstanceId) -> anyhow::Result<()> {
    let domains = output("virsh", &["-q", "-c", &arguments.uri, "list", "--all", "--name"]).await?;
    ensure!(domains.trim() == "Domain-0", "domains are left: {domains}");
    let links = output("ip", &["-br", "link"]).await?;
    let left: Vec<_> =
        links.lines().filter(|line| line.starts_with('k') && !line.starts_with("karri0")).collect();
    ensure!(left.is_empty(), "interfaces are left: {left:?}");
    let rules = output("ebtables-save", &[]).await?;
    ensure!(!rules.contains("-i k"), "rules are left: {rules}");
    let directory = cloud.work.join("nc/instances").join(id.as_str());
    ensure!(!directory.exists(), "{} is left", directory.display());
    for entry in std::fs::read_dir("/var/log/xen")? {
        let name = entry?.file_name();
        ensure!(!name.to_string_lossy().contains(id.as_str()), "{} is left", name.display());
    }
    Ok(())
}
