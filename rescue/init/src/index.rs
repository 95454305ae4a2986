//! What depmod wrote: which modules there are, what each needs, and which alias stands for which.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

use crate::pattern;

/// `-` and `_` are the same in a module's name and in an alias; inside `[…]` of a pattern `-` is a range.
pub fn normalise(name: &str) -> String {
    let mut inside_set = false;
    name.chars()
        .map(|c| {
            match c {
                '[' => inside_set = true,
                ']' => inside_set = false,
                _ => {}
            }
            if c == '-' && !inside_set { '_' } else { c }
        })
        .collect()
}

/// `kernel/fs/ext4/ext4.ko.xz` is `ext4`.
pub fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normalise(file.find(".ko").map_or(file, |end| &file[..end]))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    pub name: String,
    /// Under `/lib/modules/RELEASE`.
    pub path: String,
    /// Every module it needs, the nearest first, as modules.dep lists them.
    needs: Vec<String>,
}

/// Modules that work better together: names or aliases, not always present.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Soft {
    before: Vec<String>,
    after: Vec<String>,
    /// Listed without `pre:` or `post:`: never loaded by us, but the module may ask for them.
    beside: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Index {
    modules: Vec<Module>,
    by_name: HashMap<String, usize>,
    /// By the text before `:`, where that text has no wildcard.
    aliases: HashMap<String, Vec<(String, String)>>,
    wild_aliases: Vec<(String, String)>,
    soft: HashMap<String, Soft>,
}

impl Index {
    /// # Errors
    /// When modules.dep cannot be read; without modules.alias and modules.softdep it works by name.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let dep = fs::read_to_string(folder.join("modules.dep"))?;
        let alias = fs::read_to_string(folder.join("modules.alias")).unwrap_or_default();
        let softdep = fs::read_to_string(folder.join("modules.softdep")).unwrap_or_default();
        Ok(Self::parse(&dep, &alias, &softdep))
    }

    /// Lines that are not understood are left out.
    pub fn parse(dep: &str, alias: &str, softdep: &str) -> Self {
        let mut index = Self::default();
        for (path, needs) in dep.lines().filter_map(|line| line.split_once(':')) {
            let name = name_of(path);
            let needs = needs.split_whitespace().map(name_of).collect();
            index.by_name.insert(name.clone(), index.modules.len());
            index.modules.push(Module {
                name,
                path: path.to_owned(),
                needs,
            });
        }
        for line in alias.lines() {
            if let ["alias", pattern, module] = *line.split_whitespace().collect::<Vec<_>>() {
                index.add_alias(normalise(pattern), normalise(module));
            }
        }
        for line in softdep.lines() {
            index.add_soft(line);
        }
        index
    }

    fn add_alias(&mut self, pattern: String, module: String) {
        let prefix = prefix_of(&pattern);
        if prefix.contains(['*', '?', '[']) {
            self.wild_aliases.push((pattern, module));
        } else {
            let prefix = prefix.to_owned();
            self.aliases
                .entry(prefix)
                .or_default()
                .push((pattern, module));
        }
    }

    fn add_soft(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (Some("softdep"), Some(module)) = (words.next(), words.next()) else {
            return;
        };
        let soft = self.soft.entry(normalise(module)).or_default();
        let mut list = &mut soft.beside;
        for word in words {
            match word {
                "pre:" => list = &mut soft.before,
                "post:" => list = &mut soft.after,
                _ => list.push(word.to_owned()),
            }
        }
    }

    pub fn len(&self) -> usize {
        self.modules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    pub fn module(&self, name: &str) -> Option<&Module> {
        let at = self.by_name.get(&normalise(name))?;
        self.modules.get(*at)
    }

    /// Names of the modules an alias stands for, each once.
    pub fn matching(&self, alias: &str) -> Vec<&str> {
        let alias = normalise(alias);
        let near = self.aliases.get(prefix_of(&alias)).into_iter().flatten();
        let mut seen = HashSet::new();
        near.chain(&self.wild_aliases)
            .filter(|(pattern, _)| pattern::matches(pattern, &alias))
            .map(|(_, module)| module.as_str())
            .filter(|module| seen.insert(*module))
            .collect()
    }

    /// A module's own name, or every module an alias stands for.
    pub fn named(&self, name: &str) -> Vec<&Module> {
        match self.module(name) {
            Some(module) => vec![module],
            None => self
                .matching(name)
                .into_iter()
                .filter_map(|module| self.module(module))
                .collect(),
        }
    }

    /// The modules to insert for `module`, in order, itself among them.
    pub fn order(&self, module: &Module) -> Vec<&Module> {
        let mut order = Vec::new();
        self.append_order(module, &mut HashSet::new(), &mut order);
        order
    }

    fn append_order<'a>(
        &'a self,
        module: &Module,
        seen: &mut HashSet<&'a str>,
        order: &mut Vec<&'a Module>,
    ) {
        let Some(module) = self.module(&module.name) else {
            return;
        };
        if !seen.insert(&module.name) {
            return;
        }
        let none = Soft::default();
        let soft = self.soft.get(&module.name).unwrap_or(&none);
        for other in soft.before.iter().flat_map(|name| self.named(name)) {
            self.append_order(other, seen, order);
        }
        for needed in module.needs.iter().rev().filter_map(|n| self.module(n)) {
            self.append_order(needed, seen, order);
        }
        order.push(module);
        for other in soft.after.iter().flat_map(|name| self.named(name)) {
            self.append_order(other, seen, order);
        }
    }

    /// Everything `names` may ever ask for: names, aliases, or a folder as `kernel/drivers/ata/*`.
    /// The second list holds the names that are no module.
    pub fn closure<'a>(&'a self, names: &[&'a str]) -> (Vec<&'a Module>, Vec<&'a str>) {
        let mut unknown = Vec::new();
        let mut found = HashSet::new();
        let mut open: Vec<&Module> = Vec::new();
        for name in names {
            let wanted = self.selected(name);
            if wanted.is_empty() {
                unknown.push(*name);
            }
            open.extend(wanted);
        }
        while let Some(module) = open.pop() {
            if !found.insert(&module.path) {
                continue;
            }
            open.extend(module.needs.iter().filter_map(|name| self.module(name)));
            if let Some(soft) = self.soft.get(&module.name) {
                let names = soft.before.iter().chain(&soft.after).chain(&soft.beside);
                open.extend(names.flat_map(|name| self.algorithm(name)));
            }
        }
        let chosen = self.modules.iter().filter(|m| found.contains(&m.path));
        (chosen.collect(), unknown)
    }

    fn selected(&self, name: &str) -> Vec<&Module> {
        match name.strip_suffix('*') {
            Some(folder) if folder.contains('/') => {
                let inside = |module: &&Module| module.path.starts_with(folder);
                self.modules.iter().filter(inside).collect()
            }
            _ => self.algorithm(name),
        }
    }

    /// A soft dependency such as `gcm` or `sha256` names an algorithm, whose alias is `crypto-gcm`.
    fn algorithm(&self, name: &str) -> Vec<&Module> {
        let named = self.named(name);
        if named.is_empty() {
            return self.named(&format!("crypto-{name}"));
        }
        named
    }
}

fn prefix_of(alias: &str) -> &str {
    alias.split(':').next().unwrap_or(alias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    const DEP: &str = "\
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/fs/mbcache.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/fs/mbcache.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/drivers/usb/storage/usb-storage.ko.xz: kernel/drivers/usb/common/usb-common.ko.xz
kernel/drivers/usb/storage/uas.ko.xz: kernel/drivers/usb/storage/usb-storage.ko.xz kernel/drivers/usb/common/usb-common.ko.xz
kernel/drivers/usb/common/usb-common.ko.xz:
kernel/drivers/usb/host/uhci-hcd.ko.xz:
kernel/drivers/usb/host/ehci-pci.ko.xz:
";
    const ALIAS: &str = "\
# Aliases extracted from modules themselves.
alias fs-ext4 ext4
alias crypto-crc32c crc32c_generic
alias usb:v*p*d*dc*dsc*dp*ic08isc06ip50in* usb_storage
alias usb:v*p*d*dc*dsc*dp*ic08isc06ip62in* uas
alias acpi*:PNP0D20:* ehci_pci
";
    const SOFTDEP: &str =
        "softdep ext4 pre: crypto-crc32c\nsoftdep uhci_hcd pre: ehci_pci\nsoftdep jbd2 crc32c\n";

    fn index() -> Index {
        Index::parse(DEP, ALIAS, SOFTDEP)
    }

    fn names(modules: &[&Module]) -> Vec<String> {
        modules.iter().map(|module| module.name.clone()).collect()
    }

    #[test]
    fn what_a_module_needs_is_inserted_before_it() {
        let index = index();
        let ext4 = index.module("ext4").unwrap();
        assert_eq!(
            names(&index.order(ext4)),
            ["crc32c_generic", "crc16", "mbcache", "jbd2", "ext4"]
        );
        let uas = index.module("uas").unwrap();
        assert_eq!(
            names(&index.order(uas)),
            ["usb_common", "usb_storage", "uas"]
        );
    }

    #[test]
    fn a_name_is_found_with_either_dash() {
        let index = index();
        assert_eq!(names(&index.named("usb-storage")), ["usb_storage"]);
        assert_eq!(names(&index.named("usb_storage")), ["usb_storage"]);
        assert_eq!(names(&index.named("fs-ext4")), ["ext4"]);
        assert!(index.named("fs-nothing").is_empty());
    }

    #[test]
    fn a_device_finds_its_modules_by_alias() {
        let index = index();
        assert_eq!(
            index.matching("usb:v0951p1666d0110dc00dsc00dp00ic08isc06ip50in00"),
            ["usb_storage"]
        );
        assert_eq!(index.matching("acpi:PNP0D20:"), ["ehci_pci"]);
        assert!(index.matching("pci:v00008086").is_empty());
    }

    #[test]
    fn a_closure_holds_soft_dependencies_and_names_what_is_missing() {
        let index = index();
        let (modules, unknown) = index.closure(&["jbd2", "uhci-hcd", "reiser4"]);
        assert_eq!(
            names(&modules),
            ["jbd2", "crc32c_generic", "uhci_hcd", "ehci_pci"]
        );
        assert_eq!(unknown, ["reiser4"]);
        let (modules, unknown) = index.closure(&["kernel/drivers/usb/storage/*"]);
        assert_eq!(names(&modules), ["usb_storage", "uas", "usb_common"]);
        assert!(unknown.is_empty());
    }

    #[test]
    fn modules_that_need_each_other_end() {
        let index = Index::parse("a.ko: b.ko\nb.ko: a.ko\n", "", "softdep a post: a\n");
        let a = index.module("a").unwrap();
        assert_eq!(names(&index.order(a)), ["b", "a"]);
    }

    proptest! {
        #[test]
        fn no_text_panics(dep in "[ab/.:ko \n]{0,80}", alias in "(alias [a*:\\[-]{0,6} [ab]\n){0,6}", soft in "(softdep [ab] (pre: |post: )?[ab*]\n){0,4}") {
            let index = Index::parse(&dep, &alias, &soft);
            for module in index.modules() {
                index.order(module);
            }
            index.closure(&["a", "b*", "/*", "*", ""]);
        }
    }
}
