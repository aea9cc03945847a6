//! The fields of a form, as policy and handler see them: one value for each name.
//!
//! Must not: let the two see different things. A name that comes twice has its last value for both.

use super::reader::{FIELDS_BYTES_MAX, too_large};
use crate::refusal::S3Refusal;

/// Stands for the file's name, in any field.
const FILENAME: &str = "${filename}";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// Names in lower case.
    fields: Vec<(String, String)>,
    file: Option<FileHead>,
}

/// What the form says of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHead {
    /// Without the directories that some browsers put before it; empty when there is none.
    pub filename: String,
    /// The part's own; S3 takes the object's type from the field `Content-Type`.
    pub content_type: Option<String>,
}

impl Form {
    /// One that nobody has sent: for a policy that came by another way.
    pub fn of<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut form = Self::default();
        fields.into_iter().for_each(|(name, value)| form.insert(name, value));
        form
    }

    /// The value of a field, whose name is given in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Every field but the file, in the order in which they came; names in lower case.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Present once the reader has come to it.
    pub fn file(&self) -> Option<&FileHead> {
        self.file.as_ref()
    }

    /// The object's key.
    ///
    /// # Errors
    /// `InvalidArgument`: there is none.
    pub fn key(&self) -> Result<&str, S3Refusal> {
        self.get("key").filter(|key| !key.is_empty()).ok_or_else(|| missing_field("key"))
    }

    pub(super) fn insert(&mut self, name: &str, value: String) {
        let name = name.to_ascii_lowercase();
        self.fields.retain(|(known, _)| *known != name);
        self.fields.push((name, value));
    }

    /// The file has come: its name is put where fields ask for it.
    pub(super) fn begin_file(
        &mut self,
        filename: Option<&str>,
        content_type: Option<String>,
    ) -> Result<(), S3Refusal> {
        let filename = filename.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
        let grown = self.fields.iter().map(|(_, value)| value.matches(FILENAME).count() * filename.len());
        if grown.sum::<usize>() > FIELDS_BYTES_MAX {
            return Err(too_large());
        }
        for (_, value) in &mut self.fields {
            if value.contains(FILENAME) {
                *value = value.replace(FILENAME, filename);
            }
        }
        self.file = Some(FileHead { filename: filename.to_owned(), content_type });
        Ok(())
    }
}

pub(super) fn missing_field(name: &'static str) -> S3Refusal {
    let text = format!(
        "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the \
         fields."
    );
    S3Refusal::argument(text, name, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_is_put_in() {
        let check = |filename: Option<&str>, want: &str| {
            let mut form = Form::default();
            form.insert("KEY", "user/${filename}".into());
            form.begin_file(filename, None).unwrap();
            assert_eq!(form.key(), Ok(want));
        };
        check(Some("a.txt"), "user/a.txt");
        check(Some(r"C:\My Documents\a.txt"), "user/a.txt");
        check(Some("/tmp/${filename}"), "user/${filename}");
        check(None, "user/");
        let mut form = Form::default();
        form.insert("key", FILENAME.repeat(1000));
        assert_eq!(form.begin_file(Some(&"x".repeat(1000)), None).unwrap_err(), too_large());
    }
}
