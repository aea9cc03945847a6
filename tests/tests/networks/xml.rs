//! Answers of EC2 as trees, as far as they have no attributes that matter.

#[derive(Debug, Clone, Default)]
pub struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// Of a document that is known to be well-formed.
    pub fn parse(text: &str) -> Self {
        let mut open = vec![Element::default()];
        for part in text.split('<').skip(1) {
            let (tag, text) = part.split_once('>').unwrap();
            if tag.starts_with('?') {
                continue;
            }
            if tag.starts_with('/') {
                let done = open.pop().unwrap();
                open.last_mut().unwrap().children.push(done);
                continue;
            }
            let name = tag.trim_end_matches('/').split(' ').next().unwrap().to_owned();
            open.push(Element { name, text: text.to_owned(), children: Vec::new() });
            if tag.ends_with('/') {
                let done = open.pop().unwrap();
                open.last_mut().unwrap().children.push(done);
            }
        }
        open.pop().unwrap().children.pop().unwrap()
    }

    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn text(&self, name: &str) -> String {
        self.child(name).map(|child| child.text.clone()).unwrap_or_default()
    }

    pub fn items(&self, list: &str) -> &[Element] {
        self.child(list).map_or(&[], |list| list.children.as_slice())
    }
}
