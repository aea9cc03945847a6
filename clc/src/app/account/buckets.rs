//! An account that owns buckets stays, whatever force is used: what is in them would be lost with it, or be left
//! behind with an owner that nobody is. Nor is it deleted while nobody can say whether it owns some.

use crate::app::App;
use karri_proto::internal::ApiError;
use karri_proto::internal::admin::Account;

impl App {
    pub(super) async fn owns_no_bucket(&self, account: &Account) -> Result<(), ApiError> {
        let name = &account.name;
        let asked = self.walrus.account_buckets(&self.caller(&account.id), &account.id).await;
        let buckets = asked.map_err(|error| {
            tracing::warn!(account = account.id, %error, "account not deleted: nobody can say whose the buckets are");
            let sentence = format!(
                "account {name} is not deleted: Walrus does not say whether it owns buckets ({}). Try again once \
                 `karri status` shows Walrus well",
                error.message
            );
            ApiError { message: sentence, ..error }
        })?;
        if buckets.names.is_empty() {
            return Ok(());
        }
        let more = if buckets.more { ", …" } else { "" };
        Err(ApiError::conflict(format!(
            "account {name} still owns buckets ({}{more}): delete them first, with the keys of one of its users or of an \
             administrator (aws s3 rb --force s3://NAME). Force here deletes no objects",
            buckets.names.join(", ")
        )))
    }
}
