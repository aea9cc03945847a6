//! Bundles as they lie in buckets: who may have an image of them, and what becomes of it. The golden vector.

use crate::harness::{Server, User, server};
use karri_proto::instance::Digest;
use karri_proto::internal::blobs::{BlobPurpose, ImportedBlob};
use karri_proto::internal::bundles::{
    BundleAsked, BundleFacts, BundleProgress, BundleService as _, BundleToMake, Inspected, SourceKind,
};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::process::{Base, ControllerConfig, Stopper};
use karri_walrus::api::bundles::BundleDesk;
use karri_walrus::api::captures::Expected;
use karri_walrus::api::exports::ExportDesk;
use karri_walrus::api::instance_bundles::InstanceBundleDesk;
use karri_walrus::app::bundle::CloudKey;
use karri_walrus::app::bundle::cache::Bundles;
use karri_walrus::app::import::Importer;
use karri_walrus::config::BlobsConfig;
use karri_walrus::drive::qemu_img::QemuImg;
use karri_walrus::reconcile;
use karri_walrus::store::blobs::BlobStore;
use karri_walrus::store::holds::Hold;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MANIFEST: &str = include_str!("../vectors/bundle/disk.img.manifest.xml");
const CLOUD_KEY: &str = include_str!("../vectors/bundle/cloud-pk.pem");
const PARTS: [&[u8]; 4] = [
    include_bytes!("../vectors/bundle/disk.img.part.00"),
    include_bytes!("../vectors/bundle/disk.img.part.01"),
    include_bytes!("../vectors/bundle/disk.img.part.02"),
    include_bytes!("../vectors/bundle/disk.img.part.03"),
];
const IMAGE: &str = "sha256:0ab8ef7ef9830718485eec2e89d51d1147e0159b47511fce67fe180ddb9cb1bd";
const KEY: &str = "a/disk.img.manifest.xml";
const PATIENCE: Duration = Duration::from_secs(20);

/// Buckets, and beside them the store that images go to.
pub struct Walrus {
    pub server: Server,
    pub blobs: Arc<BlobStore>,
    pub desk: BundleDesk,
    importer: Importer,
    state: TempDir,
    _stopper: Stopper,
}

fn base(state: &Path) -> (Base, Stopper) {
    let authority = Authority::load_or_create(&state.join("ca")).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let config = ControllerConfig {
        state_dir: state.to_owned(),
        listen: any,
        advertise: None,
        observe: None,
        log: "info".into(),
        tls: authority.issue_files(&state.join("tls"), &Identity::new(Role::Walrus, "", "x")).unwrap(),
    };
    Base::new(&config, "walrus x").unwrap()
}

impl Walrus {
    pub async fn start() -> Self {
        Self::around(server().await)
    }

    pub fn around(server: Server) -> Self {
        let state = tempfile::tempdir().unwrap();
        let (base, stopper) = base(state.path());
        let config = BlobsConfig::default();
        let limits = config.limits();
        let opened = BlobStore::open(state.path(), limits.store_bytes_max, base.metrics.clone()).unwrap();
        let blobs = Arc::new(opened);
        let tool = QemuImg::new(config.tool_limits());
        let importer = Importer::new(blobs.clone(), tool, limits, base.clone());
        let bundles =
            Bundles::open(importer.clone(), state.path(), CloudKey::from_pem(CLOUD_KEY).unwrap()).unwrap();
        let objects = server.s3.objects.clone();
        base.spawn(reconcile::bundles::run(bundles.clone(), objects, base.shutdown.clone()));
        let desk = BundleDesk::new(server.s3.clone(), bundles);
        Self { server, blobs, desk, importer, state, _stopper: stopper }
    }

    pub fn exports(&self) -> ExportDesk {
        ExportDesk::new(self.server.s3.clone(), self.importer.clone())
    }

    pub fn instance_bundles(&self, expected: Expected) -> InstanceBundleDesk {
        let key = CloudKey::from_pem(CLOUD_KEY).unwrap();
        InstanceBundleDesk::new(self.server.s3.clone(), self.importer.clone(), key, expected)
    }

    pub fn importer(&self) -> Importer {
        self.importer.clone()
    }

    pub fn authority(&self) -> Authority {
        Authority::load_or_create(&self.state.path().join("ca")).unwrap()
    }

    /// Directories of what is on its way in or out.
    pub fn scratches(&self) -> usize {
        std::fs::read_dir(self.state.path().join("incoming")).unwrap().count()
    }

    /// As old tools upload it.
    async fn upload(&self) {
        self.server.bucket("images").await;
        for (number, part) in PARTS.iter().enumerate() {
            let path = format!("/services/objectstorage/images/a/disk.img.part.0{number}");
            self.server.put(&path, part).await;
        }
        self.server.put(&format!("/services/Walrus/images/{KEY}"), MANIFEST.as_bytes()).await;
    }

    pub async fn look(&self, user: &str, key: &str) -> Result<Inspected, ApiError> {
        let (bucket, key, access_key_id) = ("images".into(), key.into(), user.into());
        let asked = BundleAsked { bucket, key, access_key_id, session_token: None, address: None };
        self.desk.bundle_inspect(&caller(), &asked).await
    }

    async fn inspect(&self, user: &str, key: &str) -> Result<BundleFacts, ApiError> {
        match self.look(user, key).await? {
            Inspected::Bundle(facts) => Ok(facts),
            Inspected::Disk(facts) => panic!("{key} is taken for a disk: {facts:?}"),
        }
    }

    async fn make(&self, etag: &str) -> Result<ImportedBlob, ApiError> {
        self.make_of(SourceKind::Bundle, KEY, etag).await
    }

    pub async fn make_of(&self, kind: SourceKind, key: &str, etag: &str) -> Result<ImportedBlob, ApiError> {
        let (bucket, key, account) = ("images".into(), key.into(), "111111111111".into());
        let bundle = BundleToMake { kind, bucket, key, etag: etag.to_owned(), account };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.desk.bundle_make(&caller(), &bundle).await? {
                BundleProgress::Made(image) => return Ok(image),
                BundleProgress::Making { .. } => assert!(Instant::now() < deadline),
            }
        }
    }

    pub fn hold(&self, digest: &Digest) -> Option<Hold> {
        self.blobs.blob_info(digest).map(|info| info.hold)
    }

    async fn refused(&self, user: User, kind: ApiErrorKind, words: &str) {
        let error = self.inspect(user.key(), KEY).await.unwrap_err();
        assert!(error.kind == kind && error.message.contains(words), "{error:?} should say: {words}");
    }

    pub async fn permit_bob(&self, keys: &str) {
        let policy = format!(
            r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "222222222222"}},
                "Action": "s3:GetObject", "Resource": "arn:aws:s3:::images/{keys}"}}]}}"#
        );
        self.server.call("PUT", "/images?policy").body(policy.as_bytes()).expect(204).await;
    }
}

pub fn caller() -> Caller {
    Caller { identity: Identity::new(Role::Clc, "", "clc"), request_id: "req-7".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_inspected_made_held_released_and_forgotten() {
    let walrus = Walrus::start().await;
    walrus.upload().await;
    let facts = walrus.inspect(User::Ann.key(), KEY).await.unwrap();
    assert_eq!(
        (facts.purpose, facts.bytes, facts.architecture.as_str()),
        (BlobPurpose::Disk, 197_385, "x86_64")
    );
    assert_eq!((facts.kernel_id.as_deref(), facts.ramdisk_id.as_deref()), (Some("eki-12345678"), None));
    assert_eq!(facts.root_device.as_deref(), Some("/dev/sda1"));
    let image = walrus.make(&facts.etag).await.unwrap();
    let digest = image.blob.digest.clone();
    assert_eq!(digest.as_str(), IMAGE);
    assert_eq!(walrus.hold(&digest), Some(Hold::Registered));
    assert_eq!(walrus.make(&facts.etag).await.unwrap(), image, "the same again");
    walrus.desk.bundle_release(&caller(), &digest).await.unwrap();
    assert_eq!(walrus.hold(&digest), Some(Hold::Cached));

    let text = MANIFEST.replace("<version>3.4.0", "<version>3.4.1");
    walrus.server.put(&format!("/images/{KEY}"), text.as_bytes()).await;
    let error = walrus.make(&facts.etag).await.unwrap_err();
    assert!(error.kind == ApiErrorKind::Invalid && error.message.contains("overwritten"), "{error:?}");
    let deadline = Instant::now() + PATIENCE;
    while walrus.hold(&digest).is_some() {
        assert!(Instant::now() < deadline, "the copy is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let facts = walrus.inspect(User::Ann.key(), KEY).await.unwrap();
    walrus.make(&facts.etag).await.unwrap();
    walrus.server.call("DELETE", &format!("/images/{KEY}")).expect(204).await;
    walrus.desk.bundle_release(&caller(), &digest).await.unwrap();
    walrus.refused(User::Ann, ApiErrorKind::NotFound, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_must_be_permitted_to_read_each_object() {
    let walrus = Walrus::start().await;
    let unknown = walrus.inspect("AKIANOBODY0000000000", KEY).await.unwrap_err();
    assert_eq!(unknown.kind, ApiErrorKind::Forbidden);
    walrus.refused(User::Ann, ApiErrorKind::NotFound, "bucket").await;
    walrus.upload().await;
    walrus.refused(User::Bob, ApiErrorKind::Forbidden, "").await;
    walrus.permit_bob(KEY).await;
    walrus.refused(User::Bob, ApiErrorKind::Invalid, "none of the 0 certificates").await;
    let unsigned = MANIFEST.split("<signature>").next().unwrap().to_owned()
        + "<signature>UNSIGNED</signature></manifest>";
    walrus.server.put(&format!("/images/{KEY}"), unsigned.as_bytes()).await;
    walrus.refused(User::Bob, ApiErrorKind::Invalid, "part a/disk.img.part.00 cannot be read").await;
    walrus.permit_bob("a/*").await;
    walrus.inspect(User::Bob.key(), KEY).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_is_not_whole_is_refused_before_anything_is_made() {
    let walrus = Walrus::start().await;
    walrus.upload().await;
    walrus.server.put("/images/a/disk.img.part.03", b"short").await;
    walrus.refused(User::Ann, ApiErrorKind::Invalid, "the manifest says 197632").await;
    walrus.server.call("DELETE", "/images/a/disk.img.part.02").expect(204).await;
    walrus.refused(User::Ann, ApiErrorKind::Invalid, "part a/disk.img.part.02 is not there").await;
    walrus.server.put(&format!("/images/{KEY}"), b"<no/>").await;
    walrus.refused(User::Ann, ApiErrorKind::Invalid, "where manifest is expected").await;
    assert_eq!(walrus.blobs.blob_list(), vec![]);
}
