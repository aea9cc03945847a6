//! `karri image delete`: the image at once, its bytes when nothing needs them any more.

use crate::cloud::Cloud;
use crate::ec2::Element;
use crate::output::{Format, printable};
use karri_proto::internal::admin::{AdminService, ImageDeleted};

/// More ids are not told to people; `--output json` has all.
const NAMED_MAX: usize = 10;
const ID_PREFIXES: [&str; 3] = ["ami-", "aki-", "ari-"];

pub async fn run(cloud: &Cloud, id_or_name: &str, output: Format) -> anyhow::Result<()> {
    let id = if ID_PREFIXES.iter().any(|prefix| id_or_name.starts_with(prefix)) {
        id_or_name.to_owned()
    } else {
        let images = cloud.ec2()?.list("DescribeImages", &[], "imagesSet").await?;
        one_of_name(&images, id_or_name)?
    };
    let deleted = cloud.clc()?.image_delete(cloud.caller(), &id).await?;
    output.print(&deleted, text)
}

/// A name is one account's, and a failed image may have the name of one that did not.
fn one_of_name(images: &[Element], name: &str) -> anyhow::Result<String> {
    let named = images.iter().filter(|image| image.text("name") == Some(name));
    let ids: Vec<&str> = named.filter_map(|image| image.text("imageId")).collect();
    match ids.as_slice() {
        [] => anyhow::bail!("there is no image \"{name}\" (karri image list)"),
        [only] => Ok((*only).to_owned()),
        several => {
            let several = several.join(", ");
            anyhow::bail!("several images are named \"{name}\": {several}. Name the one to delete by its id")
        }
    }
}

fn text(deleted: &ImageDeleted) -> String {
    let mut text = format!("{} ({}) is deleted.\n", deleted.image_id, printable(&deleted.name));
    let (instances, images) = (&deleted.instances, &deleted.images_on_its_blob);
    let snapshots = &deleted.snapshots_on_its_blob;
    if let Some(digest) = &deleted.digest {
        if instances.is_empty() && images.is_empty() && snapshots.is_empty() {
            text.push_str(&format!(
                "Nothing needs its blob {digest} any more: it is removed within minutes.\n"
            ));
        } else {
            text.push_str(&format!("Its blob {digest} stays until nothing needs it:\n"));
        }
    }
    for (what, ids) in [
        ("  instances that were started from it and go on: ", instances),
        ("  images on the same blob: ", images),
        ("  snapshots on the same blob: ", snapshots),
        (
            "These images named it as their kernel or ramdisk and start nothing any more: ",
            &deleted.images_it_booted,
        ),
    ] {
        if !ids.is_empty() {
            text.push_str(&format!("{what}{}\n", some(ids)));
        }
    }
    text
}

fn some(ids: &[String]) -> String {
    let shown = ids.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match ids.len().checked_sub(NAMED_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::instance::Digest;

    fn images() -> Vec<Element> {
        let item = |id: &str, name: &str| format!("<item><imageId>{id}</imageId><name>{name}</name></item>");
        let items = [("ami-1", "tiny"), ("ami-2", "twice"), ("ami-3", "twice")];
        let items: String = items.iter().map(|(id, name)| item(id, name)).collect();
        Element::parse(&format!("<R>{items}</R>")).unwrap().children
    }

    #[test]
    fn a_name_stands_for_one_image_or_is_refused() {
        assert_eq!(one_of_name(&images(), "tiny").unwrap(), "ami-1");
        let none = one_of_name(&images(), "tin").unwrap_err().to_string();
        assert!(none.contains("\"tin\""), "{none}");
        let several = one_of_name(&images(), "twice").unwrap_err().to_string();
        assert!(several.contains("ami-2, ami-3") && several.contains("id"), "{several}");
    }

    #[test]
    fn what_goes_on_is_told() {
        let mut deleted = ImageDeleted {
            image_id: "aki-1".into(),
            name: "kernel".into(),
            account: "1".into(),
            digest: Some(Digest::from_sha256([0; 32])),
            instances: Vec::new(),
            images_on_its_blob: Vec::new(),
            snapshots_on_its_blob: Vec::new(),
            images_it_booted: Vec::new(),
        };
        let told = text(&deleted);
        assert!(told.contains("within minutes") && told.lines().count() == 2, "{told}");
        deleted.instances = (0..12).map(|n| format!("i-{n}")).collect();
        deleted.images_it_booted = vec!["ami-9".into()];
        let told = text(&deleted);
        for part in ["stays until", "i-9 and 2 more", "start nothing any more: ami-9"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(!told.contains("same blob"), "{told}");
        deleted.instances = Vec::new();
        deleted.snapshots_on_its_blob = vec!["snap-1".into()];
        let told = text(&deleted);
        assert!(
            told.contains("stays until") && told.contains("snapshots on the same blob: snap-1"),
            "{told}"
        );
    }
}
