//! Owns the host's side of matching: facts that are found without a walk, and what follows from them by the schemas'
//! `implies` and `conflicts`. Built once per host; nothing here knows what is asked.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;

mod kernel;

use crate::compiled::Atom;
use crate::decision::Answer;
use crate::facts::{Fact, Facts, State, Value};
use crate::schema::{Assertion, Group, Schemas};
use crate::target::{self, Vendor};
use crate::value::{Comparison, Depth, Scalar};

#[expect(
    clippy::disallowed_types,
    reason = "it is asked for single keys only and never walked, so its order shows nowhere"
)]
type Table<K, V> = std::collections::HashMap<K, V>;

/// The most comparisons of elements of features with values for one subject: what a rule asks once may be held against each
/// of thousands of names.
const MAX_COMPARISONS: usize = 1 << 18;
/// The key whose answers are kept.
const TARGET_NAME: &str = "io.archspec/cpu.target";

/// A host as matching sees it.
pub struct Host<'a> {
    /// What is known about it.
    pub facts: &'a Facts,
    /// What keys mean.
    pub schemas: &'a Schemas,
    groups: Table<&'a str, Keys<'a>>,
    /// What the site says about other vendors' microarchitectures.
    vendor: Vendor,
    /// Answers about microarchitectures, which are asked for again and again.
    targets: RefCell<Table<Vec<Scalar>, (Answer, Depth)>>,
    /// How often elements of features were compared for the subject at hand.
    compared: Cell<usize>,
    /// Options and modules of the kernel, once one is asked for.
    kernel: OnceCell<kernel::Kernel>,
}

/// The facts of one group.
#[derive(Default)]
pub(crate) struct Keys<'a> {
    keys: Table<&'a str, Cow<'a, Fact>>,
    /// Families by prefix, the longest first.
    families: Vec<(&'a str, &'a Fact)>,
}

impl Keys<'_> {
    /// The fact of exactly this key.
    pub(crate) fn own(&self, key: &str) -> Option<&Fact> {
        self.keys.get(key).map(AsRef::as_ref)
    }

    /// The fact of a key: its own, else that of the longest family that covers it.
    pub(crate) fn get(&self, key: &str) -> Option<&Fact> {
        if let Some(fact) = self.keys.get(key) {
            return Some(fact);
        }
        self.families.iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, fact)| *fact)
    }
}

impl<'a> Host<'a> {
    /// A host with these facts, under these schemas, where the site says this about other vendors' microarchitectures.
    pub fn new(facts: &'a Facts, schemas: &'a Schemas, vendor: Vendor) -> Self {
        let mut groups: Table<&'a str, Keys<'a>> = Table::new();
        for (group, keys) in &facts.facts {
            let found = groups.entry(group).or_default();
            for (key, fact) in keys {
                found.keys.insert(key, Cow::Borrowed(fact));
                if let Some(prefix) = key.strip_suffix('*') {
                    found.families.push((prefix, fact));
                }
            }
            found.families.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        }
        let (targets, compared, kernel) = (RefCell::default(), Cell::default(), OnceCell::new());
        let mut host = Self { facts, schemas, groups, vendor, targets, compared, kernel };
        host.derive();
        host
    }

    /// A new subject is asked about.
    pub(crate) fn begin(&self) {
        self.compared.set(0);
    }

    /// Whether so many more comparisons are within what one subject may take; what does not fit is not made.
    pub(crate) fn spend(&self, comparisons: usize) -> bool {
        self.compared.set(self.compared.get().saturating_add(comparisons));
        !self.is_spent()
    }

    /// Whether a comparison was not made.
    pub(crate) fn is_spent(&self) -> bool {
        self.compared.get() > MAX_COMPARISONS
    }

    /// The facts of a group, by its canonical name.
    pub(crate) fn group(&self, group: &str) -> Option<&Keys<'a>> {
        self.groups.get(group)
    }

    /// What is known about a key.
    pub fn fact(&self, group: &str, key: &str) -> Option<&Fact> {
        let told = self.group(group)?.get(key);
        if told.is_none() && group == kernel::GROUP && kernel::is_key(key) {
            return self.kernel.get_or_init(|| kernel::Kernel::new(&self.facts.features)).get(key);
        }
        told
    }

    /// Adds what follows from known facts, where nothing is known otherwise. What follows from a consequence follows even
    /// where the host says something else about that consequence: to know more never takes away what was known.
    fn derive(&mut self) {
        for schema in self.schemas.groups().filter(|schema| !schema.implications.is_empty()) {
            for (key, (value, source)) in self.consequences(schema) {
                if !self.is_told(&schema.id, key) {
                    let keys = self.groups.entry(&schema.id).or_default();
                    keys.keys.insert(key, Cow::Owned(Fact::known(value, source)));
                }
            }
        }
    }

    /// What follows by the edges of a schema, by key, with the source of what it follows from. A chain of n edges takes at
    /// most n rounds; of two edges that contradict each other the first counts.
    fn consequences(&self, schema: &'a Group) -> BTreeMap<&'a str, (Value, String)> {
        let mut found: BTreeMap<&'a str, (Value, String)> = BTreeMap::new();
        for _ in &schema.implications {
            let before = found.len();
            for edge in &schema.implications {
                let value: Value = match (&edge.then.value, edge.conflict) {
                    (None, conflict) => (!conflict).into(),
                    (Some(value), false) => value.as_str().into(),
                    // "Not this value" is no value.
                    (Some(_), true) => continue,
                };
                let wanted = edge.when.value.as_deref().unwrap_or("true");
                let followed = found.get(edge.when.key.as_str()).filter(|(value, _)| value.to_string() == wanted);
                let source = match followed {
                    Some((_, source)) => source.clone(),
                    None if self.holds(&schema.id, &edge.when) => {
                        self.fact(&schema.id, &edge.when.key).map(|fact| fact.source.clone()).unwrap_or_default()
                    }
                    None => continue,
                };
                found.entry(&edge.then.key).or_insert((value, source));
            }
            if found.len() == before {
                break;
            }
        }
        found
    }

    fn is_told(&self, group: &str, key: &str) -> bool {
        self.fact(group, key).is_some_and(|fact| !matches!(fact.state, State::Unknown { .. }))
    }

    fn holds(&self, group: &str, assertion: &Assertion) -> bool {
        match (self.fact(group, &assertion.key).map(|fact| &fact.state), &assertion.value) {
            (Some(State::Known { value: Value::Set(values) }), Some(wanted)) => values.contains(wanted),
            (Some(State::Known { value }), Some(wanted)) => value.to_string() == *wanted,
            (Some(State::Known { value }), None) => *value == Value::Bool(true),
            _ => false,
        }
    }

    /// Whether this host runs code for a target, without the words.
    pub(crate) fn target(&self, atom: &Atom, wanted: &[Scalar], state: Option<&State>) -> (Answer, Depth) {
        // Other keys ask about other facts.
        let memory = (atom.name == TARGET_NAME).then(|| self.targets.borrow_mut());
        let Some(mut memory) = memory else {
            let found = self.explain_target(wanted, state);
            return (found.answer, found.depth);
        };
        if let Some(found) = memory.get(wanted) {
            return *found;
        }
        let found = self.explain_target(wanted, state);
        memory.insert(wanted.to_vec(), (found.answer, found.depth));
        (found.answer, found.depth)
    }

    /// The same, with the words.
    pub(crate) fn explain_target(&self, wanted: &[Scalar], state: Option<&State>) -> Comparison {
        target::compare(self.schemas.targets(), self.facts, wanted, state, self.vendor)
    }
}
