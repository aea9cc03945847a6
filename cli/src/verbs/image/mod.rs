//! `karri image`: bytes into the image store, then an image of them in EC2.

mod delete;
mod source;
mod upload;

pub use upload::{import_bytes, import_file};

use crate::args::{Image as Verb, ImageImport, Usage};
use crate::cloud::Cloud;
use crate::ec2::{Ec2, Element};
use crate::output::{Format, Table};
use anyhow::Context;
use karri_proto::instance::BlobRef;
use serde::Serialize;
use source::Source;
use std::ops::RangeInclusive;

const NAME_CHARACTERS: RangeInclusive<usize> = 3..=128;

/// What the bytes are to the guest that boots them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Machine,
    Kernel,
    Ramdisk,
}

/// One RegisterImage.
#[derive(Debug, Clone)]
pub struct Registration {
    pub name: String,
    pub kind: Kind,
    pub blob: BlobRef,
    pub architecture: String,
    pub kernel: Option<String>,
    pub ramdisk: Option<String>,
}

impl Registration {
    pub fn disk(name: &str, blob: &BlobRef) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Machine,
            blob: blob.clone(),
            architecture: "x86_64".to_owned(),
            kernel: None,
            ramdisk: None,
        }
    }

    pub fn booted_by(self, kernel: Option<String>, ramdisk: Option<String>) -> Self {
        Self { kernel, ramdisk, ..self }
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let digest = &self.blob.digest;
        let location = match self.kind {
            Kind::Machine => digest.to_string(),
            Kind::Kernel => format!("karri-kernel/{digest}"),
            Kind::Ramdisk => format!("karri-ramdisk/{digest}"),
        };
        let mut parameters = vec![
            ("Name", self.name.clone()),
            ("ImageLocation", location),
            ("Architecture", self.architecture.clone()),
        ];
        parameters.extend(self.kernel.clone().map(|id| ("KernelId", id)));
        parameters.extend(self.ramdisk.clone().map(|id| ("RamdiskId", id)));
        parameters
    }
}

/// The new image's id.
pub async fn register(ec2: &Ec2, registration: &Registration) -> anyhow::Result<String> {
    let parameters = registration.parameters();
    let borrowed: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = ec2.call("RegisterImage", &borrowed).await?;
    answer.text("imageId").map(str::to_owned).context("RegisterImage answered without an image id")
}

/// What `karri image import` tells.
#[derive(Debug, Serialize)]
struct Imported {
    image_id: String,
    name: String,
    digest: String,
    source_format: String,
    stored_bytes: u64,
    virtual_bytes: u64,
    kernel_id: Option<String>,
    ramdisk_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listed {
    image_id: String,
    name: String,
    state: String,
    kind: String,
    architecture: String,
    location: String,
}

pub async fn run(cloud: &Cloud, verb: Verb, output: Format) -> anyhow::Result<()> {
    match verb {
        Verb::Import(wanted) => {
            let imported = import(cloud, &wanted).await?;
            output.print(&imported, |i| format!("{}  {}  {}\n", i.image_id, i.name, i.digest))
        }
        Verb::List => {
            let images = cloud.ec2()?.list("DescribeImages", &[], "imagesSet").await?;
            let images: Vec<Listed> = images.iter().map(listed).collect();
            output.print(&images, |images| table(images))
        }
        Verb::Delete { image } => delete::run(cloud, &image, output).await,
    }
}

async fn import(cloud: &Cloud, wanted: &ImageImport) -> anyhow::Result<Imported> {
    let ec2 = cloud.ec2()?;
    let source = Source::parse(&wanted.source)?;
    let name = wanted.name.clone().unwrap_or_else(|| source.stem());
    // EC2 judges the name; this much is told before gigabytes are on their way.
    if !NAME_CHARACTERS.contains(&name.chars().count()) {
        let (least, most) = (NAME_CHARACTERS.start(), NAME_CHARACTERS.end());
        return Err(
            Usage(format!("\"{name}\": an image's name has {least} to {most} characters (--name)")).into()
        );
    }
    let kernel_id = part(cloud, &ec2, wanted.kernel.as_deref(), &name, Kind::Kernel).await?;
    let ramdisk_id = part(cloud, &ec2, wanted.ramdisk.as_deref(), &name, Kind::Ramdisk).await?;
    let taken = upload::import(cloud, &source, Kind::Machine).await?;
    eprintln!("digest {}", taken.blob.digest);
    let registration = Registration {
        architecture: wanted.architecture.clone(),
        ..Registration::disk(&name, &taken.blob).booted_by(kernel_id.clone(), ramdisk_id.clone())
    };
    let image_id = register(&ec2, &registration).await.with_context(|| {
        format!("the bytes are imported as {}, but the image is not registered", taken.blob.digest)
    })?;
    Ok(Imported {
        image_id,
        name,
        digest: taken.blob.digest.to_string(),
        source_format: taken.source_format,
        stored_bytes: taken.blob.bytes,
        virtual_bytes: taken.blob.virtual_bytes,
        kernel_id,
        ramdisk_id,
    })
}

/// The id of a kernel or ramdisk: as given, or of one imported now.
async fn part(
    cloud: &Cloud,
    ec2: &Ec2,
    given: Option<&str>,
    name: &str,
    kind: Kind,
) -> anyhow::Result<Option<String>> {
    let Some(given) = given else { return Ok(None) };
    let (prefix, suffix) = if kind == Kind::Kernel { ("aki-", "kernel") } else { ("ari-", "ramdisk") };
    if given.starts_with(prefix) && !std::path::Path::new(given).exists() {
        return Ok(Some(given.to_owned()));
    }
    let blob = upload::import(cloud, &Source::parse(given)?, kind).await?.blob;
    let registration = Registration { kind, ..Registration::disk(&format!("{name}-{suffix}"), &blob) };
    register(ec2, &registration).await.map(Some)
}

fn listed(image: &Element) -> Listed {
    let text = |name| image.text(name).unwrap_or_default().to_owned();
    Listed {
        image_id: text("imageId"),
        name: text("name"),
        state: text("imageState"),
        kind: text("imageType"),
        architecture: text("architecture"),
        location: text("imageLocation"),
    }
}

fn table(images: &[Listed]) -> String {
    let mut table = Table::new(["IMAGE", "NAME", "STATE", "KIND", "ARCHITECTURE", "LOCATION"]);
    for image in images {
        table.row([
            image.image_id.clone(),
            image.name.clone(),
            image.state.clone(),
            image.kind.clone(),
            image.architecture.clone(),
            image.location.clone(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::instance::{BlobFormat, Digest};

    #[test]
    fn a_registration_names_digest_kernel_and_ramdisk() {
        let blob = BlobRef {
            digest: Digest::from_sha256([7; 32]),
            format: BlobFormat::Raw,
            bytes: 1,
            virtual_bytes: 1,
        };
        let plain = Registration::disk("x", &blob).parameters();
        assert_eq!(plain[1], ("ImageLocation", blob.digest.to_string()));
        assert_eq!(plain.len(), 3);
        let booted = Registration::disk("x", &blob).booted_by(Some("aki-1".into()), Some("ari-1".into()));
        assert_eq!(booted.parameters()[3..], [("KernelId", "aki-1".into()), ("RamdiskId", "ari-1".into())]);
    }

    #[test]
    fn images_are_one_line_each() {
        let xml = "<R><item><imageId>ami-1</imageId><name>tiny</name><imageState>available</imageState>\
                   <imageType>machine</imageType><architecture>x86_64</architecture>\
                   <imageLocation>sha256:0</imageLocation></item></R>";
        let answer = Element::parse(xml).unwrap();
        let images: Vec<Listed> = answer.children.iter().map(listed).collect();
        assert_eq!(
            table(&images),
            "IMAGE  NAME  STATE      KIND     ARCHITECTURE  LOCATION\n\
             ami-1  tiny  available  machine  x86_64        sha256:0\n"
        );
    }
}
