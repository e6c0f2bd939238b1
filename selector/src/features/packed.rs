//! Owns sorted names, alone or with a value each, in one piece of memory: a kernel has ten thousand options and modules, and one
//! text for each of them would take longer to make than all else that a create does with them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A flag has no value: `{}`.
#[derive(Serialize, Deserialize)]
struct Nothing {}

/// Records of `N` texts, in the order of the first, which no two of them share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed<const N: usize> {
    text: String,
    /// Where each text ends.
    ends: Vec<usize>,
}

/// Names that are there or not.
pub type Flags = Packed<1>;
/// Names with a value.
pub type Attributes = Packed<2>;

impl<const N: usize> Default for Packed<N> {
    fn default() -> Self {
        Self { text: String::new(), ends: Vec::new() }
    }
}

impl<const N: usize> Packed<N> {
    /// The records whose texts end at `ends` of `text`; `None` where they are no such records.
    pub fn of(text: &str, ends: Vec<usize>) -> Option<Self> {
        let packed = Self { text: text.to_owned(), ends };
        let whole =
            packed.ends.len().is_multiple_of(N) && packed.ends.last().copied().unwrap_or_default() == text.len();
        let cut = packed.ends.is_sorted() && packed.ends.iter().all(|end| text.is_char_boundary(*end));
        (whole && cut && packed.names().is_sorted_by(|one, next| one < next)).then_some(packed)
    }

    /// Puts records behind each other that are in order.
    fn pack<'t>(records: impl Iterator<Item = [&'t str; N]>) -> Self {
        let mut packed = Self::default();
        for text in records.flatten() {
            packed.text.push_str(text);
            packed.ends.push(packed.text.len());
        }
        packed
    }

    /// All texts of all records, in one piece.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The length of each of them.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = usize> {
        (0..self.ends.len()).map(|at| self.ends[at] - self.start(at))
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn record(&self, at: usize) -> [&str; N] {
        std::array::from_fn(|text| &self.text[self.start(at * N + text)..self.ends[at * N + text]])
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.ends.len() / N
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn records(&self) -> impl Iterator<Item = [&str; N]> {
        (0..self.len()).map(|at| self.record(at))
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.records().map(|record| record[0])
    }

    fn find(&self, name: &str) -> Option<[&str; N]> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let record = self.record(middle);
            match record[0].cmp(name) {
                std::cmp::Ordering::Equal => return Some(record),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Whether there is a record of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Takes the record of this name out; false where there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        let there = self.contains(name);
        if there {
            *self = Self::pack(self.records().filter(|record| record[0] != name));
        }
        there
    }
}

impl Packed<2> {
    /// The value of the name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|[_, value]| value)
    }

    /// Gives the name this value.
    pub fn insert(&mut self, name: &str, value: &str) {
        *self = self.iter().chain([(name, value)]).collect();
    }

    /// Names with their values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.records().map(|[name, value]| (name, value))
    }

    /// Leaves only what `keep` holds of.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        *self = Self::pack(self.records().filter(|[name, value]| keep(name, value)));
    }
}

impl<T: AsRef<str>> FromIterator<T> for Packed<1> {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut names: Vec<T> = names.into_iter().collect();
        names.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        names.dedup_by(|one, other| one.as_ref() == other.as_ref());
        Self::pack(names.iter().map(|name| [name.as_ref()]))
    }
}

/// Of two values of one name the later one counts.
impl<K: AsRef<str> + Ord, V: AsRef<str>> FromIterator<(K, V)> for Packed<2> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs: BTreeMap<K, V> = pairs.into_iter().collect();
        Self::pack(pairs.iter().map(|(name, value)| [name.as_ref(), value.as_ref()]))
    }
}

impl Serialize for Packed<1> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.names().map(|name| (name, Nothing {})))
    }
}

impl<'de> Deserialize<'de> for Packed<1> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<String, Nothing>::deserialize(deserializer).map(|names| names.into_keys().collect())
    }
}

impl Serialize for Packed<2> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Packed<2> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<String, String>::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().copied().collect()
    }

    #[test]
    fn names_are_found_whatever_order_they_came_in() {
        let flags: Flags = ["b", "", "äö", "a", "b"].into_iter().collect();
        assert_eq!(flags.names().collect::<Vec<_>>(), ["", "a", "b", "äö"]);
        assert!(["", "a", "b", "äö"].iter().all(|name| flags.contains(name)));
        assert!(["ä", "aa", "c"].iter().all(|name| !flags.contains(name)));
        let options = options(&[("HZ", "250"), ("EMPTY", ""), ("HZ", "1000")]);
        assert_eq!([options.get("HZ"), options.get("EMPTY"), options.get("H")], [Some("1000"), Some(""), None]);
        assert_eq!((options.len(), Attributes::default().get("")), (2, None));
    }

    #[test]
    fn what_is_changed_stays_in_order() {
        let mut changed = options(&[("b", "1"), ("d", "2")]);
        changed.insert("c", "3");
        changed.insert("b", "");
        assert!(changed.remove("d") && !changed.remove("d"));
        assert_eq!(changed, options(&[("b", ""), ("c", "3")]));
        changed.retain(|name, _| name != "b");
        assert_eq!(changed, options(&[("c", "3")]));
    }

    #[test]
    fn only_records_in_order_are_any() {
        let whole = options(&[("a", "ä"), ("b", "")]);
        let ends = |ends: &[usize]| Attributes::of("aäb", ends.to_vec());
        assert_eq!(ends(&[1, 3, 4, 4]), Some(whole));
        for wrong in [&[1, 2, 4, 4][..], &[1, 3, 4], &[1, 3, 4, 5], &[3, 1, 4, 4], &[1, 3, 3, 3], &[0, 1, 0, 4], &[]] {
            assert_eq!(ends(wrong), None, "{wrong:?}");
        }
        assert_eq!(Flags::of("ab", vec![1, 2]).unwrap().len(), 2);
        assert!(Flags::of("ba", vec![1, 2]).is_none() && Flags::of("aa", vec![1, 2]).is_none());
    }
}
