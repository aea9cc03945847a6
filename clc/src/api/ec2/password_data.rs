//! The password that a Windows guest chooses for its administrator and tells at its first boot. No guest here
//! does: the answer is that of any Linux guest on EC2, an empty one.

use super::listing::time_of;
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target};
use karri_proto::aws::ec2::{GetPasswordDataRequest, GetPasswordDataResult};

pub fn asks(_: &Cx, request: &GetPasswordDataRequest) -> Asks {
    Asks::On(vec![Target::new("instance", &request.instance_id)])
}

pub async fn get_password_data(cx: Cx, request: GetPasswordDataRequest) -> Answer<GetPasswordDataResult> {
    let found = cx.app.instances_named(cx.caller(), &[request.instance_id.parse()?])?;
    Ok(GetPasswordDataResult {
        instance_id: Some(request.instance_id),
        password_data: Some(String::new()),
        timestamp: found.first().map(|instance| time_of(instance.spec.launched_at_unix_ms)),
    })
}
