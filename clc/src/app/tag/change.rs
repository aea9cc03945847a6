//! Changing tags: of all the named resources or of none.

use super::{
    RESOURCES_MAX, TAGS_PER_RESOURCE_MAX, Taggable, Tags, check, check_key, check_metadata_keys, too_many,
};
use crate::app::App;
use crate::store::instance::instances_retag_in_txn;
use crate::store::resource::{image_is_public, resource_account};
use crate::store::tag::{tag_count_in_txn, tags_delete_all_in_txn, tags_delete_in_txn, tags_put_in_txn};
use crate::store::{StoreError, Tx};
use karri_proto::fault::Fault;
use karri_proto::ids::InstanceId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets these; others stay.
    Put(Tags),
    /// By key, and by value where one is given.
    Delete(Vec<(String, Option<String>)>),
    DeleteAll,
}

impl Change {
    fn check(&self) -> Result<(), Fault> {
        match self {
            Change::Put(tags) => check(tags),
            Change::Delete(keys) if keys.len() > TAGS_PER_RESOURCE_MAX => Err(too_many()),
            Change::Delete(keys) => keys.iter().try_for_each(|(key, _)| check_key(key)),
            Change::DeleteAll => Ok(()),
        }
    }
}

impl App {
    /// `dry`: nothing is changed after all.
    pub async fn tags_change(
        &self,
        account: &str,
        administrator: bool,
        request_id: &str,
        resources: &[String],
        change: Change,
        dry: bool,
    ) -> Result<(), Fault> {
        change.check()?;
        if resources.len() > RESOURCES_MAX {
            let sentence = format!("At most {RESOURCES_MAX} resources can be named in one request");
            return Err(Fault::invalid_parameter(sentence));
        }
        let kinds: Vec<(Taggable, &str)> = resources
            .iter()
            .map(|id| Ok((Taggable::of_id(id)?, id.as_str())))
            .collect::<Result<_, Fault>>()?;
        // First, so that two changes of one resource wait for each other.
        let (mut tx, number) = self.store.begin_numbered().await?;
        let instances: Vec<InstanceId> = kinds
            .iter()
            .filter(|(kind, _)| *kind == Taggable::Instance)
            .filter_map(|(_, id)| id.parse().ok())
            .collect();
        for (kind, id) in kinds {
            let owner = resource_account(&mut tx, kind, id).await?;
            let owner = owner.ok_or_else(|| kind.not_found(id))?;
            let whose = if administrator || owner == account {
                owner.as_str()
            } else if kind == Taggable::Image && image_is_public(&mut tx, id).await? {
                account // its own tags on another's image
            } else {
                return Err(kind.not_found(id));
            };
            apply_in_txn(&mut tx, whose, kind, id, &change).await?;
        }
        let retagged = instances_retag_in_txn(&mut tx, &instances, number, request_id).await?;
        if let Change::Put(tags) = &change
            && retagged.iter().any(|instance| instance.spec.metadata.tags_shown)
        {
            check_metadata_keys(tags.iter().map(|(key, _)| key))?;
        }
        if dry {
            return Ok(()); // all that could be refused has been
        }
        tx.commit().await.map_err(StoreError::from)?;
        self.adopt(retagged);
        Ok(())
    }
}

async fn apply_in_txn(
    tx: &mut Tx,
    account: &str,
    kind: Taggable,
    id: &str,
    change: &Change,
) -> Result<(), Fault> {
    match change {
        Change::Put(tags) => {
            tags_put_in_txn(tx, account, kind, id, tags).await?;
            if tag_count_in_txn(tx, account, id).await? > TAGS_PER_RESOURCE_MAX {
                return Err(too_many());
            }
        }
        Change::Delete(keys) => tags_delete_in_txn(tx, account, id, keys).await?,
        Change::DeleteAll => tags_delete_all_in_txn(tx, account, id).await?,
    }
    Ok(())
}
