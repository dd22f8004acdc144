//! A report as one HTML file that stands on its own: pictures and curves inside, no script, nothing
//! fetched, light and dark after the reader's system. `genesis demo` composes it.
//!
//! ```
//! use genesis_train::report::html::{Command, Report, Tile};
//!
//! let mut report = Report::new("Genesis demo", "Pre-training on synthetic chest CTs, start to end.");
//! report.add_tile(Tile::new("Restoration error", "0.0091").note("identity: 0.0412").highlighted());
//! let section = report.add_section("How to go on", "The same on your own scans:");
//! section.add_commands(&[Command::new("pre-train", "genesis pretrain --volumes scans --out run")]);
//! assert!(report.html().starts_with("<!doctype html>"));
//! ```

mod section;

use std::path::Path;

pub use section::{Bar, Command, Figure, Section, Table, Tile};

use super::file::write_atomically;
use crate::error::Result;

const STYLE: &str = include_str!("style.css");

/// A page under construction: a head with figures, then sections in the order they are added.
#[derive(Clone, Debug)]
pub struct Report {
    title: String,
    lead: String,
    tiles: Vec<Tile>,
    sections: Vec<Section>,
    footer: String,
}

impl Report {
    /// A page with a title and a sentence or two beneath it. All texts are plain; what HTML would
    /// take for markup is escaped.
    pub fn new(title: impl Into<String>, lead: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            lead: lead.into(),
            tiles: Vec::new(),
            sections: Vec::new(),
            footer: format!("Written by genesis {}.", env!("CARGO_PKG_VERSION")),
        }
    }

    /// Adds a key figure to the page's head.
    pub fn add_tile(&mut self, tile: Tile) -> &mut Self {
        self.tiles.push(tile);
        self
    }

    /// Adds a section and hands it out to be filled. An empty `introduction` takes no room.
    pub fn add_section(
        &mut self,
        heading: impl Into<String>,
        introduction: impl Into<String>,
    ) -> &mut Section {
        self.sections.push(Section::new(heading.into(), introduction.into()));
        let last = self.sections.len() - 1;
        &mut self.sections[last]
    }

    /// Replaces the small print at the end, which names the program and its version.
    pub fn set_footer(&mut self, footer: impl Into<String>) -> &mut Self {
        self.footer = footer.into();
        self
    }

    /// The whole page.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <header>\n<div class=\"page\">\n<h1>{title}</h1>\n<p class=\"lead\">{}</p>\n",
            escape(&self.lead)
        );
        if !self.tiles.is_empty() {
            page += "<div class=\"tiles\">\n";
            self.tiles.iter().for_each(|tile| page += &tile.html());
            page += "</div>\n";
        }
        page += "</div>\n</header>\n";
        if self.sections.len() > 1 {
            page += "<nav aria-label=\"Sections\"><div class=\"page\">\n";
            for (number, section) in self.sections.iter().enumerate() {
                page += &format!("<a href=\"#section-{}\">{}</a>\n", number + 1, escape(section.heading()));
            }
            page += "</div></nav>\n";
        }
        page += "<main class=\"page\">\n";
        for (number, section) in self.sections.iter().enumerate() {
            page += &section.html(number + 1);
        }
        page +=
            &format!("</main>\n<footer class=\"page\">{}</footer>\n</body>\n</html>\n", escape(&self.footer));
        page
    }

    /// Writes the page, in one step.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, self.html().as_bytes())
    }
}

/// `text` with everything HTML reads as markup spelt out, fit for content and quoted attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::picture::{Colour, Picture};
    use super::*;

    const NASTY: &str = "<b onclick='x'>\"&amp;</b>";

    #[test]
    fn every_text_is_escaped() {
        let picture = Picture::new(3, 2, Colour(9, 9, 9));
        let mut report = Report::new(NASTY, NASTY);
        report.add_tile(Tile::new(NASTY, NASTY).note(NASTY)).set_footer(NASTY);
        let section = report.add_section(NASTY, NASTY);
        section.add_text(NASTY);
        section.add_picture(&picture, NASTY, NASTY).unwrap();
        section.add_gallery(&[Figure::new(&picture, NASTY, NASTY)]).unwrap();
        section.add_table(&Table::new([NASTY]).row([NASTY]));
        section.add_settings([(NASTY, NASTY)]);
        section.add_bars(&[Bar::new(NASTY, 0.5, NASTY)]);
        section.add_commands(&[Command::new(NASTY, NASTY)]);
        report.add_section("second", "");
        let html = report.html();
        assert!(!html.contains("<b "), "markup got through");
        assert!(!html.contains("onclick='"), "a quote got through");
        let escaped = "&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;amp;&lt;/b&gt;";
        assert_eq!(html.matches(escaped).count(), html.matches("&lt;b onclick").count());
        assert!(html.matches(escaped).count() >= 20);
    }

    #[test]
    fn tags_are_balanced_and_nothing_is_fetched() {
        let picture = Picture::new(3, 2, Colour(9, 9, 9));
        let mut report = Report::new("t", "l");
        report.add_tile(Tile::new("a", "b"));
        for heading in ["one", "two"] {
            let section = report.add_section(heading, "text");
            section.add_picture(&picture, "alt", "caption").unwrap();
            section.add_gallery(&[Figure::new(&picture, "a", "b")]).unwrap();
            section.add_table(&Table::new(["a", "b"]).row(["1", "2"]));
            section.add_settings([("a", "b")]);
            section.add_bars(&[Bar::new("a", 0.5, "50 %").highlighted()]);
            section.add_commands(&[Command::new("a", "b")]);
        }
        let html = report.html();
        for tag in [
            "html", "head", "body", "section", "div", "figure", "table", "tr", "td", "p", "pre", "dl", "h2",
            "nav", "main",
        ] {
            let opened =
                html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
            assert!(opened > 0, "no {tag}");
        }
        for fetched in ["http:", "https:", "<script", "<link", "@import", "url("] {
            assert!(!html.contains(fetched), "{fetched}");
        }
        assert!(html.contains("href=\"#section-2\"") && html.contains("id=\"section-2\""));
    }

    #[test]
    fn the_inlined_picture_is_the_picture() {
        use base64::Engine;
        let picture = Picture::new(3, 2, Colour(1, 2, 3));
        let mut report = Report::new("t", "l");
        report.add_section("s", "").add_picture(&picture, "a", "b").unwrap();
        let html = report.html();
        let encoded = html.split("data:image/png;base64,").nth(1).and_then(|rest| rest.split('"').next());
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.unwrap()).unwrap();
        assert_eq!(bytes, picture.to_png().unwrap());
        assert!(html.contains("width=\"3\" height=\"2\""));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.html");
        report.write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), html);
    }
}
