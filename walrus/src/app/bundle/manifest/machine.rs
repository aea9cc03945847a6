//! `machine_configuration`: what the image runs on and boots with, and of which kind it says that it is.

use super::super::xml::{Cursor, ManifestError, Parsed};
use super::fields::{TEXT_BYTES_MAX, parsed, read_name, read_text, required, several};
use super::{Kind, Machine, Mapping};

const MAPPINGS_MAX: usize = 64;
const PRODUCT_CODES_MAX: usize = 64;
/// How a kernel's and a ramdisk's manifest say that they are one.
const ITSELF: &str = "true";

/// Also whether it says of itself that it is a kernel, and a ramdisk.
pub(super) fn read_machine(cx: &mut Cursor<'_>) -> Parsed<(Machine, [bool; 2])> {
    let (mut architecture, mut mappings, mut codes) = (None, None, None);
    let (mut kernel, mut ramdisk) = (None, None);
    while let Some(name) = cx.child()? {
        match name.as_str() {
            "architecture" => cx.once(&mut architecture, read_architecture)?,
            "block_device_mapping" | "block_device_mappings" => {
                cx.once(&mut mappings, |cx| several(cx, &["mapping"], MAPPINGS_MAX, read_mapping))?
            }
            "product_codes" | "productcodes" => cx.once(&mut codes, |cx| {
                several(cx, &["product_code", "productcode"], PRODUCT_CODES_MAX, read_name)
            })?,
            "kernel_id" => cx.once(&mut kernel, read_text)?,
            "ramdisk_id" => cx.once(&mut ramdisk, read_text)?,
            _ => cx.skip()?,
        }
    }
    let itself = [&kernel, &ramdisk].map(|id| id.as_deref() == Some(ITSELF));
    let machine = Machine {
        architecture: required("manifest/machine_configuration", "architecture", architecture)?,
        mappings: mappings.unwrap_or_default(),
        product_codes: codes.unwrap_or_default(),
        kernel_id: kernel.filter(|id| !id.is_empty() && id != ITSELF),
        ramdisk_id: ramdisk.filter(|id| !id.is_empty() && id != ITSELF),
    };
    Ok((machine, itself))
}

fn read_architecture(cx: &mut Cursor<'_>) -> Parsed<String> {
    parsed(cx, TEXT_BYTES_MAX, |text| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let fits = (1..=16).contains(&text.len()) && text.bytes().all(plain);
        if fits { Ok(text.to_owned()) } else { Err("expecting an architecture such as x86_64".to_owned()) }
    })
}

fn read_mapping(cx: &mut Cursor<'_>) -> Parsed<Mapping> {
    let path = cx.path();
    let (mut virtual_name, mut device) = (None, None);
    while let Some(name) = cx.child()? {
        match name.as_str() {
            "virtual" => cx.once(&mut virtual_name, read_name)?,
            "device" => cx.once(&mut device, read_name)?,
            _ => cx.skip()?,
        }
    }
    Ok(Mapping {
        virtual_name: required(&path, "virtual", virtual_name)?,
        device: required(&path, "device", device)?,
    })
}

/// What `image/type` says, and what `kernel_id` and `ramdisk_id` say. Old tools call kernels machines.
pub(super) fn decide_kind(said: Kind, itself: [bool; 2], machine: &mut Machine) -> Parsed<Kind> {
    let error = |problem| Err(ManifestError::new("manifest/image/type", problem));
    let kind = match (said, itself) {
        (_, [true, true]) => return error("is both: kernel_id and ramdisk_id are true"),
        (Kind::Machine | Kind::Kernel, [true, false]) => Kind::Kernel,
        (Kind::Machine | Kind::Ramdisk, [false, true]) => Kind::Ramdisk,
        (Kind::Ramdisk, [true, false]) => return error("is ramdisk, and kernel_id is true"),
        (Kind::Kernel, [false, true]) => return error("is kernel, and ramdisk_id is true"),
        (said, [false, false]) => said,
    };
    if kind != Kind::Machine && (machine.kernel_id.is_some() || machine.ramdisk_id.is_some()) {
        return error("is that of a kernel or ramdisk, and it names a kernel or ramdisk to boot with");
    }
    if machine.kernel_id.is_none() && machine.ramdisk_id.is_some() {
        return error("is machine, and it names a ramdisk without a kernel that loads it");
    }
    Ok(kind)
}
