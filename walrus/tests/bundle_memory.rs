//! What a bundle of any size costs in memory. Alone in its process, because that is what is measured.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "suite/harness.rs"]
#[allow(dead_code)] // the suite uses all of it
mod harness;

use futures_util::StreamExt;
use harness::config;
use karri_proto::runtime::process::Base;
use karri_walrus::app::bundle::cache::{Bundle, Bundles};
use karri_walrus::app::bundle::{Certificate, CloudKey, PartError, PartSource, PartStream};
use karri_walrus::app::import::{For, Importer};
use karri_walrus::config::BlobsConfig;
use karri_walrus::drive::qemu_img::QemuImg;
use karri_walrus::store::blobs::BlobStore;
use karri_walrus::store::bundles::BundleName;
use karri_walrus::store::holds::Hold;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio_util::io::ReaderStream;

const MIB: u64 = 1 << 20;
const IMAGE_BYTES: u64 = 300 * MIB;
/// Of them not zero, and not compressible: three parts of the usual size.
const NOISE_BYTES: u64 = 24 * MIB;
const GROWTH_BYTES_MAX: u64 = 30 * MIB;
const PIECE_BYTES: usize = 64 * 1024;

struct Directory(PathBuf);

#[async_trait::async_trait]
impl PartSource for Directory {
    async fn part(&self, filename: &str) -> Result<PartStream, PartError> {
        let file = tokio::fs::File::open(self.0.join(filename)).await.map_err(|_| PartError::Missing)?;
        let pieces = ReaderStream::with_capacity(file, PIECE_BYTES);
        Ok(Box::pin(pieces.map(|piece| piece.map_err(|error| PartError::Failed(error.to_string())))))
    }
}

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/bundle").join(name)
}

/// Made by other processes, so that none of this one's memory has been used for it.
fn make_bundle(directory: &Path) -> PathBuf {
    let path = directory.join("disk");
    let mut file = std::fs::File::create(&path).unwrap();
    file.set_len(IMAGE_BYTES).unwrap();
    let mut random = std::fs::File::open("/dev/urandom").unwrap();
    let mut noise = vec![0; MIB as usize];
    for number in 0..NOISE_BYTES / MIB {
        random.read_exact(&mut noise).unwrap();
        file.seek(SeekFrom::Start(number * 11 * MIB)).unwrap();
        file.write_all(&noise).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients/bundle.py");
    let made = std::process::Command::new("python3")
        .args([script.as_ref(), path.as_os_str(), directory.as_os_str()])
        .args(["--user", "123456789012", "--cloud-cert"])
        .arg(vector("cloud-cert.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
}

/// A figure of /proc/self/status, in bytes.
fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_sparse_image_takes_little_memory_and_little_disk() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = std::fs::read(make_bundle(directory.path())).unwrap();
    let state = directory.path().join("state");
    let config = config(directory.path(), &state, BlobsConfig::default());
    let (base, _stopper) = Base::new(&config.controller, "walrus x").unwrap();
    let limits = config.blobs.limits();
    let blobs = BlobStore::open(&state, limits.store_bytes_max, base.metrics.clone()).unwrap();
    let importer = Importer::new(Arc::new(blobs), QemuImg::new(config.blobs.tool_limits()), limits, base);
    let key = CloudKey::from_pem(&std::fs::read_to_string(vector("cloud-pk.pem")).unwrap()).unwrap();
    let bundles = Bundles::open(importer, &state, key).unwrap();
    let certificates = Certificate::list("").unwrap();
    let name = BundleName { bucket: "images".into(), key: "disk.manifest.xml".into() };
    let bundle = Bundle { name: &name, etag: "e", manifest: &manifest, certificates: &certificates };
    let source = Arc::new(Directory(directory.path().to_owned()));

    std::fs::write("/proc/self/clear_refs", "5").unwrap(); // the peak counts from here
    let before = resident("VmRSS");
    let began = Instant::now();
    let made = bundles
        .image(bundle, source, Hold::Registered, Arc::new(|_, _| {}), For::job("1", "req-7"))
        .await
        .unwrap();
    let (took, peak) = (began.elapsed(), resident("VmHWM"));
    let growth = peak.saturating_sub(before);
    println!("{} MiB in {took:?}, resident {} KiB more at most", IMAGE_BYTES / MIB, growth / 1024);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more were resident");

    assert_eq!(made.image.blob.bytes, IMAGE_BYTES);
    let hex = made.image.blob.digest.hex().to_owned();
    let kept = std::fs::metadata(state.join("blobs").join(&hex[..2]).join(&hex)).unwrap();
    assert!(kept.blocks() * 512 < NOISE_BYTES + 8 * MIB, "zeros became holes");
}
