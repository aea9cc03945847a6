//! Bundles, from manifest and parts to an image in the store: the golden vector, and every way to be wrong.

use crate::bundler::{Bundle, Draft, Source, gzip, header, private_key, sign, tar, vector, vector_text};
use crate::harness::{DEADLINE, config, digest, disk};
use karri_proto::internal::blobs::Content;
use karri_proto::runtime::process::{Base, Stopper};
use karri_walrus::app::bundle::cache::{BundledImage, Bundles};
use karri_walrus::app::bundle::{Certificate, CloudKey, PartSource, Progress, cache};
use karri_walrus::app::import::{For, ImportError, Importer, Limits};
use karri_walrus::config::BlobsConfig;
use karri_walrus::drive::qemu_img::QemuImg;
use karri_walrus::store::blobs::BlobStore;
use karri_walrus::store::bundles::BundleName;
use karri_walrus::store::holds::Hold;
use proptest::prelude::*;
use std::sync::Arc;
use tempfile::TempDir;

const VECTOR_IMAGE: &str = "sha256:0ab8ef7ef9830718485eec2e89d51d1147e0159b47511fce67fe180ddb9cb1bd";

/// Walrus without its HTTP face.
pub struct Store {
    pub state: TempDir,
    pub blobs: Arc<BlobStore>,
    pub bundles: Bundles,
    pub certificates: Vec<Certificate>,
    _stopper: Stopper,
}

impl Store {
    pub fn new() -> Self {
        Self::with_cache(1 << 30)
    }

    /// One that keeps so many bytes of copies.
    pub fn with_cache(bytes: u64) -> Self {
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path(), state.path(), BlobsConfig::default());
        let (base, stopper) = Base::new(&config.controller, "walrus x").unwrap();
        let limits = Limits { bundle_cache_bytes_max: bytes, ..config.blobs.limits() };
        let opened = BlobStore::open(state.path(), limits.store_bytes_max, base.metrics.clone()).unwrap();
        let blobs = Arc::new(opened);
        let importer = Importer::new(blobs.clone(), QemuImg::new(config.blobs.tool_limits()), limits, base);
        let key = CloudKey::from_pem(&vector_text("cloud-pk.pem")).unwrap();
        let bundles = Bundles::open(importer, state.path(), key).unwrap();
        let certificates = Certificate::list(&vector_text("user-cert.pem")).unwrap();
        Self { state, blobs, bundles, certificates, _stopper: stopper }
    }

    pub async fn image_of(
        &self,
        manifest: &str,
        source: Arc<dyn PartSource>,
        name: &str,
        hold: Hold,
    ) -> Result<BundledImage, ImportError> {
        let name = BundleName { bucket: "images".into(), key: name.into() };
        let etag = digest(manifest.as_bytes()).to_string();
        let (manifest, certificates) = (manifest.as_bytes(), self.certificates.as_slice());
        let bundle = cache::Bundle { name: &name, etag: &etag, manifest, certificates };
        let progress: Progress = Arc::new(|_, _| {});
        tokio::time::timeout(
            DEADLINE,
            self.bundles.image(bundle, source, hold, progress, For::job("1", "req-7")),
        )
        .await
        .unwrap()
    }

    pub async fn image(&self, bundle: &Bundle) -> Result<BundledImage, ImportError> {
        self.image_of(&bundle.manifest, Source::of(bundle), "a", Hold::Registered).await
    }

    async fn refused(&self, bundle: &Bundle, expected: &str) {
        let error = self.image(bundle).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error} should say: {expected}");
        assert_eq!(std::fs::read_dir(self.state.path().join("incoming")).unwrap().count(), 0, "{expected}");
        assert_eq!(self.blobs.blob_list(), vec![], "{expected}");
    }

    fn read(&self, made: &BundledImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut file = self.blobs.blob_open(&made.image.blob.digest).unwrap();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        bytes
    }
}

fn golden() -> Bundle {
    let source = Source::of_directory(&vector(""));
    Bundle { manifest: vector_text("disk.img.manifest.xml"), parts: source.parts.clone() }
}

/// `bundle` with its manifest changed, and nothing signed.
pub fn unsigned(bundle: &Bundle, from: &str, to: &str) -> Bundle {
    assert!(bundle.manifest.contains(from), "{from}");
    let manifest = bundle.manifest.replace(from, to);
    let at = manifest.find("<signature>").unwrap();
    let manifest = format!("{}<signature>UNSIGNED</signature></manifest>", &manifest[..at]);
    Bundle { manifest, parts: bundle.parts.clone() }
}

fn change(bundle: &Bundle, part: &str, change: impl FnOnce(&mut Vec<u8>)) -> Bundle {
    let mut bundle = bundle.clone();
    change(bundle.parts.get_mut(part).unwrap());
    bundle
}

#[tokio::test]
async fn the_golden_vector_becomes_its_image() {
    let store = Store::new();
    let made = store.image(&golden()).await.unwrap();
    assert_eq!(made.image.blob.digest.as_str(), VECTOR_IMAGE);
    assert_eq!((made.image.blob.bytes, made.signer, made.cached), (197_385, Some(0), false));
    assert_eq!(made.manifest.image.user, "123456789012");
}

#[tokio::test]
async fn a_signature_of_somebody_else_is_refused_and_none_is_told() {
    let mut store = Store::new();
    let golden = golden();
    let changed = golden.manifest.replace("<user>123456789012", "<user>999999999999");
    store.refused(&Bundle { manifest: changed, ..golden.clone() }, "none of the 1 certificates").await;
    let changed = golden.manifest.replace("<name>disk.img</name>", "<name> disk.img</name>");
    store.refused(&Bundle { manifest: changed, ..golden.clone() }, "none of the 1 certificates").await;
    store.certificates = Certificate::list(&vector_text("cloud-cert.pem")).unwrap();
    store.refused(&golden, "none of the 1 certificates").await;
    store.certificates = vec![];
    store.refused(&golden, "none of the 0 certificates").await;
    let both = vector_text("cloud-cert.pem") + &vector_text("user-cert.pem");
    store.certificates = Certificate::list(&both).unwrap();
    assert_eq!(store.image(&golden).await.unwrap().signer, Some(1));
    let without = unsigned(&golden, "<image>", "<image>");
    assert_eq!(store.image(&without).await.unwrap().signer, None);
}

#[test]
fn certificates_that_are_none_are_told() {
    let refused = |text: &str| Certificate::list(text).unwrap_err().to_string();
    let broken = vector_text("user-cert.pem").replace("MII", "MIX");
    assert!(refused(&broken).contains("certificate 0 cannot be read"));
    let other = vector_text("user-cert.pem") + &vector_text("user-pk.pem");
    assert!(refused(&other).contains("certificate 1 cannot be read"));
    assert!(Certificate::list("").unwrap().is_empty());
    assert!(CloudKey::from_pem("x").unwrap_err().contains("cannot be read"));
}

#[tokio::test]
async fn parts_that_are_not_what_the_manifest_says_are_told_by_name() {
    let store = Store::new();
    let golden = golden();
    for part in ["disk.img.part.00", "disk.img.part.01", "disk.img.part.03"] {
        let sentence = format!("part {part} has another SHA-1 digest");
        store.refused(&change(&golden, part, |bytes| bytes[0] ^= 1), &sentence).await;
        store.refused(&change(&golden, part, |bytes| bytes[1000] ^= 1), &sentence).await;
        store.refused(&change(&golden, part, |bytes| bytes.truncate(bytes.len() - 1)), &sentence).await;
    }
    let longer = change(&golden, "disk.img.part.01", |bytes| bytes.extend([0; 32]));
    store.refused(&longer, "part disk.img.part.01 has another SHA-1 digest").await;
    let longer = change(&golden, "disk.img.part.03", |bytes| bytes.extend([0; 32]));
    store.refused(&longer, "more than 197632 bytes").await;
    for part in ["disk.img.part.00", "disk.img.part.02"] {
        let mut missing = golden.clone();
        missing.parts.remove(part);
        store.refused(&missing, &format!("part {part} is not there")).await;
    }
    let mut swapped = golden.clone();
    let (one, two) = (golden.parts["disk.img.part.01"].clone(), golden.parts["disk.img.part.02"].clone());
    swapped.parts.insert("disk.img.part.01".into(), two);
    swapped.parts.insert("disk.img.part.02".into(), one);
    store.refused(&swapped, "part disk.img.part.01 has another SHA-1 digest").await;
}

#[tokio::test]
async fn a_manifest_that_contradicts_itself_or_its_parts_is_told() {
    let store = Store::new();
    let golden = golden();
    let refused = async |from: &str, to: &str, expected: &str| {
        store.refused(&unsigned(&golden, from, to), expected).await;
    };
    refused("<parts count=\"4\">", "<parts count=\"3\">", "manifest/image/parts/part has the index 3").await;
    refused("<parts count=\"4\">", "<parts count=\"5\">", "parts has the count 5, and holds 4").await;
    refused("<part index=\"3\">", "<part index=\"2\">", "part[2] is there twice").await;
    refused("part.03<", "part.02<", "names the file disk.img.part.02 twice").await;
    refused("<bundled_size>197632", "<bundled_size>197616", "more than 197616 bytes").await;
    refused("<bundled_size>197632", "<bundled_size>197648", "197632 bytes; the manifest says 197648").await;
    refused("<size>197385", "<size>197386", "a file of 197385 bytes; the manifest says 197386").await;
    let other = ("e94501a931fd05e7a17d61fc25aea0129b9af3f1", "e94501a931fd05e7a17d61fc25aea0129b9af3f2");
    refused(other.0, other.1, "(image/digest)").await;
    // A part more than was uploaded, and the parts in another order with digests that fit.
    let more = "<part index=\"4\"><filename>disk.img.part.04</filename><digest algorithm=\"SHA1\">\
                da39a3ee5e6b4b0d3255bfef95601890afd80709</digest></part></parts>";
    let with_more = unsigned(&golden, "<parts count=\"4\">", "<parts count=\"5\">");
    store.refused(&unsigned(&with_more, "</parts>", more), "part disk.img.part.04 is not there").await;
    let swapped = unsigned(&golden, "<part index=\"1\">", "<part index=\"9\">");
    let swapped = unsigned(&swapped, "<part index=\"2\">", "<part index=\"1\">");
    store
        .refused(&unsigned(&swapped, "<part index=\"9\">", "<part index=\"2\">"), "gzip stream is damaged")
        .await;
}

#[tokio::test]
async fn a_bundle_for_another_cloud_and_one_whose_key_is_damaged_are_told_alike() {
    let store = Store::new();
    let golden = golden();
    let mut other = Draft::of(&disk(1));
    other.cloud = private_key("user-pk.pem");
    let sentence = "cannot be decrypted with this cloud's key";
    store.refused(&other.seal(), sentence).await;
    store.refused(&unsigned(&golden, ">44cb", ">44cc"), sentence).await;
    store.refused(&unsigned(&golden, ">495b", ">49"), sentence).await;
    store.refused(&unsigned(&golden, ">495b", ">"), sentence).await;
    // Padding that is right around something that is no key, and a stream that is not gzip.
    let mut draft = Draft::of(&disk(1));
    draft.gzip = draft.tar.clone();
    store.refused(&draft.seal(), sentence).await;
    draft.gzip = vec![];
    store.refused(&draft.seal(), sentence).await;
}

#[tokio::test]
async fn gzip_is_read_as_gzip_reads_it_and_nothing_may_follow() {
    let store = Store::new();
    let image = disk(1);
    let draft = Draft::of(&image);
    let with = |gzip: Vec<u8>| Draft { gzip, ..draft.clone() }.seal();
    let whole = &draft.gzip;
    for cut in [1, 8, 9, whole.len() / 2, whole.len() - 11] {
        store.refused(&with(whole[..whole.len() - cut].to_vec()), "gzip stream ends early").await;
    }
    for tail in [&b"garbage"[..], b"\0", &[0; 40], b"\x1f\x8b\x07"] {
        store.refused(&with([whole, tail].concat()), "not gzip follows").await;
    }
    for begin in [&b"\x1f"[..], b"\x1f\x8b\x08\0\0"] {
        store.refused(&with([whole, begin].concat()), "gzip stream ends early").await;
    }
    let mut sum = whole.clone();
    let at = sum.len() - 8;
    sum[at] ^= 1;
    store.refused(&with(sum), "gzip stream is damaged").await;

    let (one, two) = draft.tar.split_at(12_345);
    let members = [gzip(one), gzip(b""), gzip(two)].concat();
    let made = store.image(&with(members)).await.unwrap();
    assert_eq!(store.read(&made), image);
}

#[tokio::test]
async fn wrong_padding_is_never_told_as_such() {
    let store = Store::new();
    let draft = Draft::of(&disk(1));
    let filled = |with: u8| {
        let mut plain = draft.gzip.clone();
        let room = 16 - plain.len() % 16;
        plain.extend(vec![with; room + 16]);
        plain
    };
    // 16 right bytes of padding with garbage before them, and no padding at all.
    for (last, rest) in [(16, 16), (16, 15), (0, 0), (17, 17), (200, 200)] {
        let mut plain = filled(rest);
        *plain.last_mut().unwrap() = last;
        store.refused(&draft.seal_plain(plain), "not gzip follows").await;
    }
    let mut cut = filled(0);
    cut.truncate((draft.gzip.len() - 40) / 16 * 16);
    store.refused(&draft.seal_plain(cut), "gzip stream ends early").await;
}

#[tokio::test]
async fn an_archive_of_anything_but_one_file_is_refused() {
    let store = Store::new();
    let image = disk(1);
    let refused = async |tar: Vec<u8>, expected: &str| {
        store.refused(&Draft::of_tar(tar, image.len()).seal(), expected).await;
    };
    let bytes = image.len() as u64;
    for name in ["../disk.img", "/etc/passwd", "a/b", "..", ".", "a\\b", "a\nb", ""] {
        refused(tar(&header(name, bytes, b'0'), &image), "not the plain name of a file").await;
    }
    refused(tar(&header("a\0/../b", bytes, b'0'), &image), "hides something behind the name \"a\"").await;
    for (kind, expected) in
        [(b'1', "a link"), (b'2', "a link"), (b'3', "a device"), (b'5', "a directory"), (b'6', "a pipe")]
    {
        refused(tar(&header("x", bytes, kind), &image), expected).await;
    }
    let one = tar(&header("x", bytes, b'0'), &image);
    refused([&one[..512 + image.len()], &one[..]].concat(), "one file is expected").await;
    refused(vec![0; 10_240], "is empty").await;
    refused(one[..512 + image.len()].to_vec(), "end mark is missing").await;
    refused(one[..512 + image.len() - 1].to_vec(), "ends early").await;
    refused(one[..100].to_vec(), "ends early").await;
    let mut damaged = one.clone();
    damaged[0] ^= 1;
    refused(damaged, "checksum").await;
    let bomb = [one.clone(), vec![0; 64 << 20]].concat();
    refused(bomb, "filled up with more than").await;
    refused(tar(&header("x", bytes + 512, b'0'), &image), "the manifest says").await;
}

#[tokio::test]
async fn kernels_and_ramdisks_are_what_their_manifests_say() {
    let store = Store::new();
    let mut kernel = disk(1);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[510..512].copy_from_slice(&[0x55, 0xaa]);
    let as_kernel = Draft { kind: "kernel", kernel: Some("true"), ..Draft::of(&kernel) };
    let as_old_kernel = Draft { kind: "machine", ..as_kernel.clone() };
    for draft in [&as_kernel, &as_old_kernel] {
        assert_eq!(store.image(&draft.seal()).await.unwrap().image.content, Content::Kernel);
    }
    let refused = async |draft: Draft, expected: &str| {
        let error = store.image(&draft.seal()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(Draft::of(&kernel), "this is a kernel, not a disk").await;
    refused(
        Draft { kind: "ramdisk", ramdisk: Some("true"), kernel: None, ..as_kernel },
        "not look like a ramdisk",
    )
    .await;
    refused(Draft { kernel: Some("true"), ..Draft::of(&disk(1)) }, "not look like a kernel").await;
    let mut archive = b"070701".to_vec();
    archive.resize(5000, 1);
    let draft = Draft { kind: "ramdisk", ramdisk: Some("true"), ..Draft::of(&archive) };
    assert_eq!(store.image(&draft.seal()).await.unwrap().image.content, Content::Ramdisk);
}

/// The other bundler, written apart from all this, with tar's and openssl's own code.
#[tokio::test]
async fn bundles_of_the_tools_become_their_images() {
    let store = Store::new();
    let mut image = vec![0; 3 << 20];
    for at in [0, 700_000, 2_000_000] {
        image[at..at + 5000].fill(9);
    }
    image.truncate((3 << 20) - 300);
    for (number, options) in [
        &["--part-bytes", "4096"][..],
        &["--sparse"],
        &["--sparse", "--kind", "machine", "--kernel", "eki-1"],
    ]
    .into_iter()
    .enumerate()
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, &image).unwrap();
        let dig = std::process::Command::new("fallocate").arg("--dig-holes").arg(&path).status().unwrap();
        assert!(dig.success());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients/bundle.py");
        let made = std::process::Command::new("python3")
            .arg(script)
            .args([&path, directory.path()])
            .args(["--user", crate::bundler::USER])
            .args(["--cloud-cert".as_ref(), vector("cloud-cert.pem").as_os_str()])
            .args(["--user-cert".as_ref(), vector("user-cert.pem").as_os_str()])
            .args(["--user-key".as_ref(), vector("user-pk.pem").as_os_str()])
            .args(options)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let manifest = std::fs::read_to_string(String::from_utf8_lossy(&made.stdout).trim()).unwrap();
        let source = Source::of_directory(directory.path());
        let made = store.image_of(&manifest, source, &number.to_string(), Hold::Cached).await.unwrap();
        assert_eq!((made.signer, made.image.blob.bytes), (Some(0), image.len() as u64));
        assert!(store.read(&made) == image, "{options:?}");
    }
}

#[test]
fn the_signature_covers_the_two_elements_as_they_stand() {
    let text = vector_text("disk.img.manifest.xml");
    let part = |name: &str| {
        let (from, to) = (format!("<{name}>"), format!("</{name}>"));
        &text[text.find(&from).unwrap()..text.find(&to).unwrap() + to.len()]
    };
    let manifest = karri_walrus::app::bundle::Manifest::parse(text.as_bytes()).unwrap();
    let signed = manifest.signed_bytes(text.as_bytes());
    assert_eq!(signed, [part("machine_configuration").as_bytes(), part("image").as_bytes()]);
    let signature = sign(&[part("machine_configuration"), part("image")]);
    assert!(text.contains(&signature), "the same key makes the same signature");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_bundled_comes_out_again(
        runs in proptest::collection::vec((any::<u8>(), 1usize..90_000), 1..6),
        part_blocks in 1usize..6000,
        exact in any::<bool>(),
        piece_bytes in 1usize..70_000,
    ) {
        let mut image = vec![1; 512]; // less is refused as an image
        for (byte, bytes) in runs {
            let byte = if byte < 128 { 0 } else { byte };
            image.extend(vec![byte; bytes]);
        }
        let mut draft = Draft::of(&image);
        let padded = (draft.gzip.len() / 16 + 1) * 16;
        draft.part_bytes = if exact { padded } else { 16 * part_blocks };
        let bundle = draft.seal();
        if exact {
            prop_assert_eq!(bundle.parts.len(), 2, "the last part is empty");
            prop_assert!(bundle.parts["disk.img.part.01"].is_empty());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::new();
            let source = Arc::new(Source { parts: bundle.parts.clone(), piece_bytes, ..Source::default() });
            let made = store.image_of(&bundle.manifest, source, "a", Hold::Cached).await.unwrap();
            assert!(store.read(&made) == image);
        });
    }
}
