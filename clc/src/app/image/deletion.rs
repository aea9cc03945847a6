//! An image that the operator deletes: deregistered like any other, and its blob with it once nothing needs it.
//!
//! DeregisterImage leaves an imported blob where it is, for whoever knows its digest; only the operator, who
//! imports, takes it away. What still needs it is told and never broken: the blob stays as long.

use super::Image;
use crate::app::App;
use crate::app::instance::{Instance, State};
use crate::app::snapshot::Snapshot;
use karri_proto::instance::Digest;
use karri_proto::internal::ApiError;
use karri_proto::internal::admin::ImageDeleted;

impl App {
    /// By its id, whoever's it is.
    pub async fn image_delete(&self, id: &str) -> Result<ImageDeleted, ApiError> {
        super::check_id(id).map_err(|fault| ApiError::invalid(fault.message()))?;
        let missing = || ApiError::not_found(format!("there is no image {id}"));
        let image = self.store.image_fetch(id).await?.filter(Image::is_registered).ok_or_else(missing)?;
        if !self.store.image_delete(id).await? {
            return Err(missing());
        }
        tracing::info!(image_id = id, name = image.name, "image deleted");
        self.follow().await?; // of what other controllers have launched from it
        let instances = self.instances.everyones();
        let others = self.store.image_list().await?;
        let snapshots = self.store.snapshot_list(None).await?;
        Ok(told(&image, instances.iter().map(|one| &**one), &others, &snapshots))
    }
}

/// What of it goes on.
fn told<'a>(
    image: &Image,
    instances: impl Iterator<Item = &'a Instance>,
    others: &[Image],
    snapshots: &[Snapshot],
) -> ImageDeleted {
    let digest = image.definition.blob.as_ref().map(|blob| &blob.digest);
    let needs = |instance: &&Instance| instance.state != State::Terminated && boots_from(instance, digest);
    let on_it =
        |other: &&Image| digest.is_some() && other.definition.blob.as_ref().map(|b| &b.digest) == digest;
    let of_it = |snapshot: &&Snapshot| digest == Some(&snapshot.definition.blob.digest);
    let id = Some(image.id.as_str());
    let booted = |other: &&Image| {
        [&other.definition.kernel_id, &other.definition.ramdisk_id].iter().any(|part| part.as_deref() == id)
    };
    let ids = |images: Vec<&Image>| images.into_iter().map(|image| image.id.clone()).collect();
    ImageDeleted {
        image_id: image.id.clone(),
        name: image.name.clone(),
        account: image.account.clone(),
        digest: digest.cloned(),
        instances: instances.filter(needs).map(|one| one.id.to_string()).collect(),
        images_on_its_blob: ids(others.iter().filter(on_it).collect()),
        snapshots_on_its_blob: snapshots.iter().filter(of_it).map(|one| one.id.clone()).collect(),
        images_it_booted: ids(others.iter().filter(booted).collect()),
    }
}

fn boots_from(instance: &Instance, digest: Option<&Digest>) -> bool {
    let boot = &instance.spec.boot;
    let blobs = [Some(&boot.root), boot.kernel.as_ref(), boot.ramdisk.as_ref()];
    digest.is_some() && blobs.into_iter().flatten().any(|blob| Some(&blob.digest) == digest)
}
