//! An answer of the API, read just enough for assertions.

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub request_id: String,
    pub text: String,
}

impl Answer {
    /// The texts of all elements of that name, innermost only.
    pub fn all(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let parts = self.text.split(&open).skip(1);
        parts.filter_map(|part| part.split_once(&close)).map(|(text, _)| text.to_owned()).collect()
    }

    pub fn one(&self, name: &str) -> String {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "one <{name}> in {}", self.text);
        all[0].clone()
    }

    pub fn first(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    /// The error code.
    pub fn code(&self) -> String {
        self.first("Code").unwrap_or_default()
    }

    pub fn message(&self) -> String {
        self.first("Message").unwrap_or_default()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text);
        self
    }

    /// Instance ids, in order, without those inside other elements.
    pub fn instances(&self) -> Vec<String> {
        self.all("instanceId")
    }

    /// The names of the instances' states, in order.
    pub fn states(&self) -> Vec<String> {
        let states = self.text.split("<instanceState>").skip(1);
        let name =
            |part: &str| part.split_once("<name>")?.1.split_once("</name>").map(|(name, _)| name.to_owned());
        states.filter_map(name).collect()
    }
}
