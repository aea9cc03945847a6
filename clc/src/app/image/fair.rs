//! Whose turn it is when more is to be done than can be at once.
//!
//! Every account that waits gets something done before any gets more: who asks for a hundred images does not keep the
//! others waiting for them.

use std::collections::HashMap;

/// `count_max` of `waiting`, which are in the order they came: the first of every account, then the second, and so on.
pub fn turn<T>(waiting: Vec<T>, account: impl Fn(&T) -> String, count_max: usize) -> Vec<T> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut placed: Vec<(usize, T)> = Vec::with_capacity(waiting.len());
    for one in waiting {
        let place = places.entry(account(&one)).or_default();
        placed.push((*place, one));
        *place += 1;
    }
    placed.sort_by_key(|(place, _)| *place); // stable: the older first
    placed.truncate(count_max);
    placed.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_of_one_account_do_not_starve_another() {
        let mut waiting: Vec<String> = (0..100).map(|number| format!("a{number}")).collect();
        waiting.extend(["b0".to_owned(), "c0".to_owned(), "b1".to_owned()]);
        let account = |one: &String| one[..1].to_owned();
        assert_eq!(turn(waiting.clone(), account, 6), ["a0", "b0", "c0", "a1", "b1", "a2"]);
        assert_eq!(turn(waiting[..3].to_vec(), account, 2), ["a0", "a1"], "one alone has it all");
        assert_eq!(turn(waiting, account, 1000).len(), 103);
    }
}
