//! An instance as libvirt's domain XML: one pure function for QEMU, KVM and the three kinds of Xen.
//!
//! Every value goes through the XML writer's escaping. For QEMU the disk chain is
//! spelled out to its end, so that nothing probes an image for a backing file. libxl knows no chains: under Xen the
//! overlay names its base itself, with its format, as `storage::overlay` made it, and its base none, as it was
//! judged before.

use crate::app::interface_xml::write_interface;
use crate::app::owner_tag::{NAMESPACE, OwnerTag, domain_name};
use crate::app::user_network::{UserPort, qemu_arguments};
use karri_proto::ids::InstanceId;
use karri_proto::instance::{BlobFormat, Firmware};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    Kvm,
    Tcg,
    XenPv,
    XenPvh,
    XenHvm,
}

impl Platform {
    fn is_xen(self) -> bool {
        match self {
            Platform::XenPv | Platform::XenPvh | Platform::XenHvm => true,
            Platform::Kvm | Platform::Tcg => false,
        }
    }

    /// As nodes report it.
    pub fn accelerator(self) -> &'static str {
        match self {
            Platform::Kvm => "kvm",
            Platform::Tcg => "tcg",
            Platform::XenPv | Platform::XenPvh | Platform::XenHvm => "xen",
        }
    }
}

/// Everything of a guest that a hypervisor needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestSpec {
    pub tag: OwnerTag,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// The instance's own qcow2 overlay.
    pub disk: PathBuf,
    pub base: PathBuf,
    pub base_format: BlobFormat,
    pub kernel: Option<PathBuf>,
    pub ramdisk: Option<PathBuf>,
    pub firmware: Firmware,
    pub console_log: PathBuf,
    pub ports: Vec<GuestPort>,
    /// None: libvirt's own.
    pub emulator: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestPort {
    pub tap: String,
    pub mac: String,
    pub bridge: String,
    /// Of its segment; none: what is usual.
    pub mtu: Option<u32>,
    /// Behind QEMU's user networking instead of on a bridge.
    pub user: Option<UserPort>,
}

impl GuestSpec {
    pub fn id(&self) -> &InstanceId {
        &self.tag.id
    }
}

/// The guest's UUID: the same for every start, and `ec2` first, by which cloud-init knows EC2.
pub fn uuid(id: &InstanceId) -> String {
    let digits = format!("ec2{}", hex::encode(Sha256::digest(id.as_str())));
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..32])
}

pub(super) type Xml = Writer<Vec<u8>>;

const QEMU_NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// The whole document.
pub fn domain_xml(guest: &GuestSpec, platform: Platform) -> String {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    write_domain(&mut xml, guest, platform).expect("writing to memory cannot fail");
    String::from_utf8(xml.into_inner()).expect("only text was written")
}

fn text(xml: &mut Xml, name: &str, value: &str) -> io::Result<()> {
    xml.create_element(name).write_text_content(BytesText::new(value))?;
    Ok(())
}

pub(super) fn empty(xml: &mut Xml, name: &str, attributes: &[(&str, &str)]) -> io::Result<()> {
    xml.create_element(name).with_attributes(attributes.iter().copied()).write_empty()?;
    Ok(())
}

pub(super) fn within(
    xml: &mut Xml,
    name: &str,
    attributes: &[(&str, &str)],
    inner: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    xml.create_element(name).with_attributes(attributes.iter().copied()).write_inner_content(inner)?;
    Ok(())
}

fn path(path: &std::path::Path) -> std::borrow::Cow<'_, str> {
    path.to_string_lossy()
}

fn write_domain(xml: &mut Xml, guest: &GuestSpec, platform: Platform) -> io::Result<()> {
    let kind = match platform {
        Platform::Kvm => "kvm",
        Platform::Tcg => "qemu",
        Platform::XenPv | Platform::XenPvh | Platform::XenHvm => "xen",
    };
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let mut attributes = vec![("type", kind)];
    if guest.ports.iter().any(|port| port.user.is_some()) {
        attributes.push(("xmlns:qemu", QEMU_NAMESPACE));
    }
    within(xml, "domain", &attributes, |xml| {
        text(xml, "name", &domain_name(guest.id()))?;
        text(xml, "uuid", &uuid(guest.id()))?;
        write_tag(xml, &guest.tag)?;
        within(xml, "memory", &[("unit", "MiB")], |xml| {
            xml.write_event(Event::Text(BytesText::new(&guest.memory_mib.to_string())))
        })?;
        text(xml, "vcpu", &guest.vcpus.to_string())?;
        if platform == Platform::XenPv && guest.kernel.is_none() {
            text(xml, "bootloader", "pygrub")?;
        }
        write_smbios(xml, guest.id(), platform)?;
        write_os(xml, guest, platform)?;
        write_machine(xml, platform)?;
        text(xml, "on_poweroff", "destroy")?;
        text(xml, "on_reboot", "restart")?;
        text(xml, "on_crash", "destroy")?;
        within(xml, "devices", &[], |xml| write_devices(xml, guest, platform))?;
        write_user_ports(xml, guest)
    })
}

/// libvirt passes on what it does not know itself.
fn write_user_ports(xml: &mut Xml, guest: &GuestSpec) -> io::Result<()> {
    let user =
        guest.ports.iter().zip(0u32..).filter_map(|(port, number)| {
            port.user.as_ref().map(|user| qemu_arguments(number, &port.mac, user))
        });
    let arguments: Vec<String> = user.flatten().collect();
    if arguments.is_empty() {
        return Ok(());
    }
    within(xml, "qemu:commandline", &[], |xml| {
        arguments.iter().try_for_each(|argument| empty(xml, "qemu:arg", &[("value", argument)]))
    })
}

fn write_tag(xml: &mut Xml, tag: &OwnerTag) -> io::Result<()> {
    within(xml, "metadata", &[], |xml| {
        let attributes = tag.attributes();
        let attributes = attributes.iter().map(|(key, value)| (*key, value.as_str()));
        let all: Vec<(&str, &str)> = std::iter::once(("xmlns:karri", NAMESPACE)).chain(attributes).collect();
        empty(xml, "karri:instance", &all)
    })
}

fn write_smbios(xml: &mut Xml, id: &InstanceId, platform: Platform) -> io::Result<()> {
    if platform.is_xen() {
        return Ok(()); // the domain's UUID is at /sys/hypervisor/uuid there
    }
    within(xml, "sysinfo", &[("type", "smbios")], |xml| {
        within(xml, "system", &[], |xml| {
            for (name, value) in [("manufacturer", "Karri"), ("product", "Karri instance")] {
                entry(xml, name, value)?;
            }
            entry(xml, "serial", &uuid(id))?;
            entry(xml, "uuid", &uuid(id))
        })
    })
}

fn entry(xml: &mut Xml, name: &str, value: &str) -> io::Result<()> {
    within(xml, "entry", &[("name", name)], |xml| xml.write_event(Event::Text(BytesText::new(value))))
}

/// For a disk, a source of randomness and as many network devices as the largest types have.
const PORTS_OF_Q35: usize = 18;

fn is_uefi(guest: &GuestSpec, platform: Platform) -> bool {
    guest.firmware == Firmware::Uefi && guest.kernel.is_none() && !platform.is_xen()
}

fn write_os(xml: &mut Xml, guest: &GuestSpec, platform: Platform) -> io::Result<()> {
    let uefi = is_uefi(guest, platform);
    let attributes: &[(&str, &str)] = if uefi { &[("firmware", "efi")] } else { &[] };
    let (os_type, machine) = match platform {
        // The older board has fewer bridges to walk: a second less to boot under emulation.
        Platform::Kvm | Platform::Tcg => ("hvm", if uefi { "q35" } else { "pc" }),
        Platform::XenPv => ("linux", "xenpv"),
        Platform::XenPvh => ("xenpvh", "xenpvh"),
        Platform::XenHvm => ("hvm", "xenfv"),
    };
    within(xml, "os", attributes, |xml| {
        within(xml, "type", &[("arch", "x86_64"), ("machine", machine)], |xml| {
            xml.write_event(Event::Text(BytesText::new(os_type)))
        })?;
        if uefi {
            // A user's image is signed by nobody whom the firmware knows.
            within(xml, "firmware", &[], |xml| {
                empty(xml, "feature", &[("enabled", "no"), ("name", "secure-boot")])
            })?;
        }
        match &guest.kernel {
            Some(kernel) => write_kernel(xml, kernel, guest, platform)?,
            None if platform != Platform::XenPv => empty(xml, "boot", &[("dev", "hd")])?,
            None => {}
        }
        if platform.is_xen() { Ok(()) } else { empty(xml, "smbios", &[("mode", "sysinfo")]) }
    })
}

fn write_kernel(
    xml: &mut Xml,
    kernel: &std::path::Path,
    guest: &GuestSpec,
    platform: Platform,
) -> io::Result<()> {
    let command_line = match platform {
        Platform::XenPv | Platform::XenPvh => "root=/dev/xvda ro console=hvc0",
        Platform::XenHvm => "root=/dev/xvda ro console=ttyS0",
        // Emulated on a busy host, a timer that comes late would be taken for none, and the kernel would give up.
        Platform::Kvm | Platform::Tcg => "root=/dev/vda ro console=ttyS0 no_timer_check",
    };
    text(xml, "kernel", &path(kernel))?;
    if let Some(ramdisk) = &guest.ramdisk {
        text(xml, "initrd", &path(ramdisk))?;
    }
    text(xml, "cmdline", command_line)
}

fn write_machine(xml: &mut Xml, platform: Platform) -> io::Result<()> {
    if platform != Platform::XenPv {
        within(xml, "features", &[], |xml| {
            empty(xml, "acpi", &[])?;
            if platform == Platform::XenPvh { Ok(()) } else { empty(xml, "apic", &[]) }
        })?;
    }
    match platform {
        Platform::Kvm => empty(xml, "cpu", &[("mode", "host-passthrough")])?,
        Platform::Tcg => write_emulated_cpu(xml)?,
        Platform::XenPv | Platform::XenPvh | Platform::XenHvm => {}
    }
    empty(xml, "clock", &[("offset", "utc")])
}

/// A 64-bit Atom of the first kind, with what x86-64-v2 has beyond, for newer guests, and without what is slow to emulate.
/// Kernels know that it does not speculate, as no emulated processor does: where they guard others against Meltdown they empty
/// the TLB at every call, and a third of a boot goes into filling it again. And that the time stamp counters of several agree,
/// which they believe of no AMD's: a clock would be read from a device there.
fn write_emulated_cpu(xml: &mut Xml) -> io::Result<()> {
    within(xml, "cpu", &[("mode", "custom"), ("check", "none")], |xml| {
        within(xml, "model", &[("fallback", "allow")], |xml| {
            xml.write_event(Event::Text(BytesText::new("n270")))
        })?;
        for name in ["lm", "nx", "syscall", "cx16", "lahf_lm", "popcnt", "ssse3", "sse4.1", "sse4.2"] {
            empty(xml, "feature", &[("policy", "require"), ("name", name)])?;
        }
        Ok(())
    })
}

fn write_devices(xml: &mut Xml, guest: &GuestSpec, platform: Platform) -> io::Result<()> {
    if let Some(emulator) = &guest.emulator {
        text(xml, "emulator", &path(emulator))?;
    }
    write_disk(xml, guest, platform)?;
    for port in guest.ports.iter().filter(|port| port.user.is_none()) {
        write_interface(xml, port, platform.is_xen())?;
    }
    write_console(xml, guest, platform)?;
    if platform.is_xen() {
        return Ok(());
    }
    within(xml, "rng", &[("model", "virtio")], |xml| {
        within(xml, "backend", &[("model", "random")], |xml| {
            xml.write_event(Event::Text(BytesText::new("/dev/urandom")))
        })
    })?;
    empty(xml, "controller", &[("type", "usb"), ("model", "none")])?;
    if is_uefi(guest, platform) {
        // Each holds one device: such a machine has no free place for what comes later by itself.
        for place in 1..=PORTS_OF_Q35 {
            let index = place.to_string();
            let port = [("type", "pci"), ("index", index.as_str()), ("model", "pcie-root-port")];
            empty(xml, "controller", &port)?;
        }
    }
    empty(xml, "memballoon", &[("model", "none")])
}

fn write_disk(xml: &mut Xml, guest: &GuestSpec, platform: Platform) -> io::Result<()> {
    let target: &[(&str, &str)] = if platform.is_xen() {
        &[("dev", "xvda"), ("bus", "xen")]
    } else {
        &[("dev", "vda"), ("bus", "virtio")]
    };
    let mut driver = vec![("name", "qemu"), ("type", "qcow2")];
    if !platform.is_xen() {
        driver.push(("discard", "unmap"));
    }
    within(xml, "disk", &[("type", "file"), ("device", "disk")], |xml| {
        empty(xml, "driver", &driver)?;
        empty(xml, "source", &[("file", &path(&guest.disk))])?;
        if !platform.is_xen() {
            write_backing(xml, guest)?;
        }
        empty(xml, "target", target)
    })
}

fn write_backing(xml: &mut Xml, guest: &GuestSpec) -> io::Result<()> {
    let format = match guest.base_format {
        BlobFormat::Raw => "raw",
        BlobFormat::Qcow2 => "qcow2",
    };
    within(xml, "backingStore", &[("type", "file")], |xml| {
        empty(xml, "format", &[("type", format)])?;
        empty(xml, "source", &[("file", &path(&guest.base))])?;
        empty(xml, "backingStore", &[])
    })
}

fn write_console(xml: &mut Xml, guest: &GuestSpec, platform: Platform) -> io::Result<()> {
    let log = path(&guest.console_log);
    // Not everybody may have a terminal for it: on some hosts root alone.
    let wire = if guest.emulator.is_some() { "null" } else { "pty" };
    match platform {
        Platform::XenPv | Platform::XenPvh => within(xml, "console", &[("type", "pty")], |xml| {
            empty(xml, "target", &[("type", "xen"), ("port", "0")])
        }),
        Platform::XenHvm => {
            within(xml, "serial", &[("type", "pty")], |xml| empty(xml, "target", &[("port", "0")]))
        }
        Platform::Kvm | Platform::Tcg => within(xml, "serial", &[("type", wire)], |xml| {
            empty(xml, "log", &[("file", &log), ("append", "on")])?;
            within(xml, "target", &[("type", "isa-serial"), ("port", "0")], |xml| {
                empty(xml, "model", &[("name", "isa-serial")])
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::owner_tag::Owner;

    fn guest() -> GuestSpec {
        GuestSpec {
            tag: OwnerTag {
                owner: Owner { cloud: "0123456789abcdef".to_owned(), node: "node-1".to_owned() },
                id: "i-0123456789abcdef0".parse().unwrap(),
                account: "000000000001".to_owned(),
                generation: 3,
                attempt: 2,
                reboots: 1,
            },
            vcpus: 2,
            memory_mib: 1024,
            disk: "/state/instances/i-0123456789abcdef0/disk.qcow2".into(),
            base: "/state/images/aaaa".into(),
            base_format: BlobFormat::Raw,
            kernel: None,
            ramdisk: None,
            firmware: Firmware::Bios,
            console_log: "/state/instances/i-0123456789abcdef0/console.log".into(),
            ports: vec![port()],
            emulator: None,
        }
    }

    fn port() -> GuestPort {
        let (tap, mac) = ("k01230123456789".to_owned(), "02:00:00:00:00:05".to_owned());
        GuestPort { tap, mac, bridge: "karri0".to_owned(), mtu: None, user: None }
    }

    fn of_user_network() -> GuestSpec {
        let address = std::net::Ipv4Addr::new(169, 254, 64, 5);
        let user = UserPort {
            address,
            gateway: std::net::Ipv4Addr::new(169, 254, 64, 1),
            forwarded: karri_proto::network::forwarded(address, &[22]),
            metadata: "'/usr/bin/karri-nc' metadata-pipe '/state/metadata.sock' eni-0123456789abcdef0"
                .to_owned(),
        };
        let ports = vec![GuestPort { user: Some(user), ..port() }];
        GuestSpec { ports, emulator: Some("/state/qemu".into()), ..guest() }
    }

    fn with_kernel() -> GuestSpec {
        GuestSpec {
            kernel: Some("/state/images/bbbb".into()),
            ramdisk: Some("/state/images/cccc".into()),
            ..guest()
        }
    }

    /// Compares with the checked-in document; KARRI_BLESS=1 writes it anew.
    fn check(name: &str, guest: &GuestSpec, platform: Platform) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.xml"));
        let xml = domain_xml(guest, platform) + "\n";
        if std::env::var_os("KARRI_BLESS").is_some() {
            std::fs::write(&path, &xml).unwrap();
        }
        assert_eq!(xml, std::fs::read_to_string(&path).unwrap(), "{}", path.display());
    }

    #[test]
    fn golden_documents() {
        let uefi = GuestSpec { firmware: Firmware::Uefi, base_format: BlobFormat::Qcow2, ..guest() };
        let of_segment = GuestPort { bridge: "karri0.1001".to_owned(), mtu: Some(1450), ..port() };
        check("kvm-segment", &GuestSpec { ports: vec![of_segment.clone()], ..guest() }, Platform::Kvm);
        check("xen-segment", &GuestSpec { ports: vec![of_segment], ..guest() }, Platform::XenHvm);
        check("tcg-user", &of_user_network(), Platform::Tcg);
        check("kvm-bios", &guest(), Platform::Kvm);
        check("tcg-bios", &guest(), Platform::Tcg);
        check("tcg-kernel", &with_kernel(), Platform::Tcg);
        check("kvm-uefi", &uefi, Platform::Kvm);
        check("xen-pv-kernel", &with_kernel(), Platform::XenPv);
        check("xen-pv-disk", &guest(), Platform::XenPv);
        check("xen-pvh-kernel", &with_kernel(), Platform::XenPvh);
        check("xen-hvm-disk", &guest(), Platform::XenHvm);
    }

    #[test]
    fn nothing_of_a_value_becomes_markup_and_the_tag_reads_back() {
        let mut guest = guest();
        guest.tag.account = "</metadata><devices>&\"'".to_owned();
        guest.disk = "/state/a<b>&\"c'/disk".into();
        let xml = domain_xml(&guest, Platform::Tcg);
        assert_eq!(xml.matches("<devices>").count(), 1);
        assert!(!xml.contains("a<b>"));
        let start = xml.find("<karri:instance").unwrap();
        let end = start + xml[start..].find("/>").unwrap() + 2;
        assert_eq!(OwnerTag::parse(&xml[start..end]), Some(guest.tag));
    }

    #[test]
    fn uuids_begin_as_cloud_init_wants_and_differ() {
        let (one, two) = ("i-00000001".parse().unwrap(), "i-00000002".parse().unwrap());
        assert!(uuid(&one).starts_with("ec2") && uuid(&one) != uuid(&two));
        assert_eq!(uuid(&one).split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
