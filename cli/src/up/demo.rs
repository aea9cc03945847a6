//! The demo image `tiny`, imported and registered once: as a bootable disk, and as kernel, ramdisk and
//! root file system apart.

use crate::cloud::Cloud;
use crate::ec2::Ec2;
use crate::verbs::image::{Kind, Registration, import_bytes, import_file, register};
use std::path::{Path, PathBuf};

pub const NAME: &str = "tiny";
const DISK: &str = "tiny.disk.qcow2";
const KERNEL: &str = "tiny.vmlinuz";
const RAMDISK: &str = "tiny.initrd";
const ROOT: &str = "tiny.root.img";
const SIMULATED_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demo {
    Known(String),
    Registered(String),
    /// Nothing to register: what to do about it.
    Absent(String),
}

impl Demo {
    pub fn image_id(&self) -> Option<&str> {
        match self {
            Demo::Known(id) | Demo::Registered(id) => Some(id),
            Demo::Absent(_) => None,
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Demo::Known(id) => format!("{NAME} is {id}"),
            Demo::Registered(id) => format!("registered {NAME} as {id}"),
            Demo::Absent(hint) => hint.clone(),
        }
    }
}

pub async fn establish(cloud: &Cloud, images: Option<PathBuf>, simulated: bool) -> anyhow::Result<Demo> {
    let ec2 = cloud.ec2()?;
    if let Some(id) = find(&ec2, NAME).await? {
        return Ok(Demo::Known(id));
    }
    if let Some(directory) = images.or_else(built_images) {
        if directory.join(DISK).exists() {
            return register_tiny(cloud, &ec2, &directory).await.map(Demo::Registered);
        }
        if !simulated {
            return Ok(Demo::Absent(format!("{} has no {DISK}", directory.display())));
        }
    }
    if simulated {
        // A simulated node runs nothing: any disk will do.
        let mut disk = vec![0; SIMULATED_BYTES];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let blob = import_bytes(cloud, disk).await?;
        return Ok(Demo::Registered(register(&ec2, &Registration::disk(NAME, &blob)).await?));
    }
    Ok(Demo::Absent("none built (deploy/images/tiny.sh target/images)".to_owned()))
}

async fn register_tiny(cloud: &Cloud, ec2: &Ec2, directory: &Path) -> anyhow::Result<String> {
    if [KERNEL, RAMDISK, ROOT].iter().all(|file| directory.join(file).exists()) {
        let kernel = part(cloud, ec2, directory, KERNEL, Kind::Kernel).await?;
        let ramdisk = part(cloud, ec2, directory, RAMDISK, Kind::Ramdisk).await?;
        if find(ec2, "tiny-root").await?.is_none() {
            let blob = import_file(cloud, &directory.join(ROOT), Kind::Machine).await?.blob;
            let root = Registration::disk("tiny-root", &blob).booted_by(Some(kernel), Some(ramdisk));
            register(ec2, &root).await?;
        }
    }
    // Last, because its presence says that all is done.
    let blob = import_file(cloud, &directory.join(DISK), Kind::Machine).await?.blob;
    register(ec2, &Registration::disk(NAME, &blob)).await
}

async fn part(cloud: &Cloud, ec2: &Ec2, directory: &Path, file: &str, kind: Kind) -> anyhow::Result<String> {
    let name = file.replace('.', "-");
    if let Some(id) = find(ec2, &name).await? {
        return Ok(id);
    }
    let blob = import_file(cloud, &directory.join(file), kind).await?.blob;
    register(ec2, &Registration { kind, ..Registration::disk(&name, &blob) }).await
}

/// The image of that name which the account `admin` owns.
async fn find(ec2: &Ec2, name: &str) -> anyhow::Result<Option<String>> {
    let wanted = [("Owner.1", "self"), ("Filter.1.Name", "name"), ("Filter.1.Value.1", name)];
    let found = ec2.list("DescribeImages", &wanted, "imagesSet").await?;
    Ok(found.first().and_then(|image| image.text("imageId")).map(str::to_owned))
}

/// Where a build (`target/release/karri`) and a package leave images.
fn built_images() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let beside = program.ancestors().skip(1).take(2).map(|directory| directory.join("images"));
    beside.chain([PathBuf::from("/usr/share/karri/images")]).find(|directory| directory.is_dir())
}
