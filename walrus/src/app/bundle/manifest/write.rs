//! Writes a manifest as EC2's and Eucalyptus' tools do: the same elements in the same order, no white space between.

use super::super::pack::{Packed, PackedPart};
use super::{VERSION, Wrapped};
use karri_proto::internal::instance_bundles::BundledMachine;
use quick_xml::escape::escape;
use std::fmt::Write as _;

const BUNDLER: &str = "karri";

/// All that a manifest says. Whatever is text is escaped here.
#[derive(Debug)]
pub struct Draft<'a> {
    /// Of the image; its parts are named after it.
    pub name: &'a str,
    /// The account.
    pub user: &'a str,
    pub machine: &'a BundledMachine,
    /// Of the raw image.
    pub bytes: u64,
    pub packed: &'a Packed,
    pub parts: &'a [PackedPart],
    pub cloud_key: &'a Wrapped,
    pub user_key: Option<&'a Wrapped>,
}

/// `disk.part.00`
pub fn part_name(name: &str, index: usize) -> String {
    format!("{name}.part.{index:02}")
}

impl Draft<'_> {
    /// The whole text. `sign` gives the signature of what it is shown.
    pub fn write(&self, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>) -> Result<String, String> {
        let signed = format!("{}{}", self.machine_text(), self.image_text());
        let signature = hex::encode(sign(signed.as_bytes())?);
        Ok(format!(
            "<?xml version='1.0' encoding='UTF-8'?>\n<manifest><version>{VERSION}</version><bundler><name>{BUNDLER}\
             </name><version>{}</version><release>0</release></bundler>{signed}<signature>{signature}</signature>\
             </manifest>",
            env!("CARGO_PKG_VERSION")
        ))
    }

    fn machine_text(&self) -> String {
        let BundledMachine { architecture, kernel_id, ramdisk_id, root_device } = self.machine;
        let device = root_device.strip_prefix("/dev/").unwrap_or(root_device);
        let mappings: String = [("ami", device), ("root", root_device.as_str())]
            .map(|(name, device)| {
                format!("<mapping><virtual>{name}</virtual><device>{}</device></mapping>", escape(device))
            })
            .concat();
        let optional = |name: &str, value: &Option<String>| {
            let element = |value: &String| format!("<{name}>{}</{name}>", escape(value.as_str()));
            value.as_ref().map(element).unwrap_or_default()
        };
        format!(
            "<machine_configuration><architecture>{}</architecture><block_device_mapping>{mappings}\
             </block_device_mapping>{}{}</machine_configuration>",
            escape(architecture.as_str()),
            optional("kernel_id", kernel_id),
            optional("ramdisk_id", ramdisk_id),
        )
    }

    fn image_text(&self) -> String {
        const CIPHER: &str = "algorithm=\"AES-128-CBC\"";
        let Wrapped { key, iv } = self.cloud_key;
        let of_user = |part: fn(&Wrapped) -> &Vec<u8>| self.user_key.map(|one| hex::encode(part(one)));
        let (user_key, user_iv) = (of_user(|one| &one.key), of_user(|one| &one.iv));
        let mut parts = String::new();
        for (index, part) in self.parts.iter().enumerate() {
            let (name, digest) = (part_name(self.name, index), hex::encode(part.digest));
            let _ = write!(
                parts,
                "<part index=\"{index}\"><filename>{}</filename><digest algorithm=\"SHA1\">{digest}</digest></part>",
                escape(name.as_str())
            );
        }
        format!(
            "<image><name>{}</name><user>{}</user><type>machine</type><digest algorithm=\"SHA1\">{}</digest>\
             <size>{}</size><bundled_size>{}</bundled_size><ec2_encrypted_key {CIPHER}>{}</ec2_encrypted_key>\
             <user_encrypted_key {CIPHER}>{}</user_encrypted_key><ec2_encrypted_iv>{}</ec2_encrypted_iv>\
             <user_encrypted_iv>{}</user_encrypted_iv><parts count=\"{}\">{parts}</parts></image>",
            escape(self.name),
            escape(self.user),
            hex::encode(self.packed.digest),
            self.bytes,
            self.packed.bundled_bytes,
            hex::encode(key),
            user_key.unwrap_or_default(),
            hex::encode(iv),
            user_iv.unwrap_or_default(),
            self.parts.len(),
        )
    }
}
