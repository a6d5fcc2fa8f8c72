//! The rules of a strict model, each in one list with its texts.

/// A rule of a strict model.
pub(crate) trait Rule: Copy {
    /// Returns the rule's short name, for programs, and the consequence of breaking it, for
    /// people.
    fn texts(self) -> (&'static str, &'static str);
}

/// Defines an enum of rules. Each rule is in one place: its documentation, its variant, its short name
/// for programs, and the consequence of breaking it, for people.
macro_rules! rules {
    (
        $(#[$doc:meta])*
        $name:ident
        readers { $($(#[$reader_doc:meta])* $reader:ident $reader_name:literal $reader_why:literal)* }
        own { $(#[$first_doc:meta])* $first:ident $first_name:literal $first_why:literal
              $($(#[$own_doc:meta])* $own:ident $own_name:literal $own_why:literal)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$reader_doc])* $reader,)*
            $(#[$first_doc])* $first,
            $($(#[$own_doc])* $own,)*
        }

        impl $name {
            /// All rules: those of the readers, then those of freestone's layout.
            pub const ALL: &[Self] =
                &[$(Self::$reader,)* Self::$first, $(Self::$own,)*];

            /// Returns true if the rule is one of freestone's own layout, which the images of
            /// other programs need not keep.
            pub fn is_own(self) -> bool {
                self >= Self::$first
            }

            /// Returns the rule's short name, for programs.
            pub fn name(self) -> &'static str {
                $crate::rule::Rule::texts(self).0
            }

            /// Returns the consequence of breaking the rule, for people.
            pub fn why(self) -> &'static str {
                $crate::rule::Rule::texts(self).1
            }

            /// Returns the rule with this short name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|rule| rule.name() == name)
            }
        }

        impl $crate::rule::Rule for $name {
            fn texts(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$reader => ($reader_name, $reader_why),)*
                    Self::$first => ($first_name, $first_why),
                    $(Self::$own => ($own_name, $own_why),)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use rules;

#[cfg(test)]
mod tests {
    use crate::fat::strict::FatRule;
    use crate::tar::strict::TarRule;
    use std::collections::HashSet;

    #[test]
    fn rules_have_names_of_their_own_and_are_in_order() {
        let names: HashSet<_> = TarRule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), TarRule::ALL.len());
        assert!(TarRule::ALL.is_sorted());
        assert!(TarRule::Head.is_own() && !TarRule::Length.is_own());
        let names: HashSet<_> = FatRule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), FatRule::ALL.len());
        assert!(FatRule::ALL.is_sorted());
        assert!(FatRule::Head.is_own() && !FatRule::MirageName.is_own());
        assert_eq!(TarRule::named("head"), Some(TarRule::Head));
        assert_eq!(FatRule::named("checksum"), None);
    }
}
