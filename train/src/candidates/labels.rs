//! From the labels' text to classes.

use std::collections::HashMap;

/// More classes than this are taken for a mistake, such as a column of identifiers.
const MOST_CLASSES: usize = 256;

/// The different labels of a table with the line each is met on first.
#[derive(Default)]
pub(super) struct Labels {
    numbers: HashMap<String, usize>,
    texts: Vec<(String, u64)>,
}

impl Labels {
    /// The number of a text among the different ones.
    pub fn intern(&mut self, text: &str, line: u64) -> usize {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        self.texts.push((text.to_string(), line));
        self.numbers.insert(text.to_string(), self.texts.len() - 1);
        self.texts.len() - 1
    }

    /// The classes, and the class of every interned text.
    ///
    /// # Errors
    /// The line, and what is wrong with its label.
    pub fn resolve(&self, given: Option<&[String]>) -> Result<(Vec<String>, Vec<usize>), (u64, String)> {
        if let Some(classes) = given {
            let find = |(text, line): &(String, u64)| {
                let named = classes.iter().position(|class| class == text);
                let class = named.or_else(|| whole(text).filter(|&number| number < classes.len()));
                class.ok_or_else(|| {
                    (*line, format!("label \"{text}\" is none of the classes {}", classes.join(", ")))
                })
            };
            return Ok((classes.to_vec(), self.texts.iter().map(find).collect::<Result<_, _>>()?));
        }
        let numbers: Option<Vec<usize>> = self.texts.iter().map(|(text, _)| whole(text)).collect();
        if let Some(numbers) = numbers {
            if let Some(at) = numbers.iter().position(|&number| number >= MOST_CLASSES) {
                let (text, line) = &self.texts[at];
                return Err((*line, format!("label {text}: classes are numbered 0 to {}", MOST_CLASSES - 1)));
            }
            // A table of negatives alone is still one of two classes.
            let count = numbers.iter().map(|number| number + 1).max().map_or(0, |count| count.max(2));
            return Ok(((0..count).map(|class| class.to_string()).collect(), numbers));
        }
        let mut classes: Vec<String> = self.texts.iter().map(|(text, _)| text.clone()).collect();
        classes.sort();
        if let Some((text, line)) = self.texts.get(MOST_CLASSES) {
            return Err((*line, format!("label \"{text}\" is one more than {MOST_CLASSES} classes")));
        }
        let place = |(text, _): &(String, u64)| classes.binary_search(text).unwrap_or(0);
        let found = self.texts.iter().map(place).collect();
        Ok((classes, found))
    }
}

/// A whole number; `1.0`, as pandas writes a column with gaps, is one.
fn whole(text: &str) -> Option<usize> {
    let value: f64 = text.parse().ok()?;
    (value >= 0.0 && value.fract() == 0.0 && value < 1e9).then_some(value as usize)
}
