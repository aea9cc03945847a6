//! Where a receiver stands, as far as is known from its answers. Pure.

use karri_proto::internal::facts::{FactsAt, FactsPage};

/// `at` None: it is told everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stand {
    pub at: Option<u64>,
}

impl Stand {
    /// What it says after a page. True: it followed. `reaches` says whether one who stands there can be told the rest.
    pub fn answered(&mut self, page: &FactsPage, answer: FactsAt, reaches: impl Fn(u64) -> bool) -> bool {
        let followed = answer == FactsAt { epoch: page.epoch, at: page.to };
        let known = answer.epoch == page.epoch && reaches(answer.at);
        self.at = (followed || known).then_some(answer.at);
        followed
    }
}
