//! What the actions on tasks about images have in common.

use crate::api::cx::Cx;
use crate::api::permit::not_dry;
use crate::app::image::task::{Event, ImageTask};
use crate::app::now_ms;
use crate::store::image_task::Made;
use karri_proto::aws::Action;
use karri_proto::fault::{Fault, FaultCode};

/// Has a task given up; the task as it was, and as it is now. `kind` is `import` or `export`.
pub async fn cancel<A: Action>(
    cx: &Cx,
    request: &A,
    kind: &str,
    id: &str,
    not_found: impl FnOnce() -> Fault,
    reason: Option<String>,
) -> Result<(ImageTask, ImageTask), Fault> {
    let task = cx.app.store.image_task_fetch(id).await?;
    let task = task.filter(|task| cx.may_touch(&task.account)).ok_or_else(not_found)?;
    let message = reason.unwrap_or_else(|| "User initiated task cancelation".to_owned());
    let cancelled = task.after(Event::Cancelled, Some(message), now_ms()).ok_or_else(|| over(&task))?;
    not_dry(request)?;
    if !cx.app.store.image_task_settle(task.state, &cancelled, Made::Nothing).await? {
        let sentence = format!("The {kind} task {id} has just changed. Try again.");
        return Err(Fault::new(FaultCode::IncorrectState, sentence));
    }
    cx.app.images_pending.notify_one();
    tracing::info!(request_id = %cx.request_id, task_id = task.id, "{kind} cancelled");
    Ok((task, cancelled))
}

/// What is over cannot be cancelled.
fn over(task: &ImageTask) -> Fault {
    let (id, state) = (&task.id, task.state.as_str());
    Fault::new(FaultCode::IncorrectState, format!("The task {id} cannot be canceled: it is {state}"))
}
