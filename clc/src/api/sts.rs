//! STS: who am I?

use super::cx::{Answer, Cx};
use super::permit::Asks;
use super::table::Table;
use karri_proto::aws::sts::{GetCallerIdentityRequest, GetCallerIdentityResponse};

pub fn table(table: Table) -> Table {
    // AWS lets everyone ask who they are, whatever their policies say.
    table.on(get_caller_identity, |_, _| Asks::Nothing)
}

async fn get_caller_identity(cx: Cx, _: GetCallerIdentityRequest) -> Answer<GetCallerIdentityResponse> {
    Ok(GetCallerIdentityResponse {
        account: Some(cx.signer.account.clone()),
        arn: Some(cx.signer.arn.clone()),
        user_id: Some(cx.signer.user_id.clone()),
    })
}
