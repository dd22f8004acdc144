//! The parts of a page: each turns into HTML as it is added.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::chart::Chart;
use super::super::picture::Picture;
use super::escape;
use crate::error::Result;

/// A key figure in the page's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    label: String,
    value: String,
    note: String,
    highlighted: bool,
}

impl Tile {
    /// A figure, already formatted with its unit, under its name.
    pub fn new(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self { label: label.into(), value: value.into(), note: String::new(), highlighted: false }
    }

    /// Adds a few words beneath, such as what the figure compares to.
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Makes it the page's first message.
    pub fn highlighted(self) -> Self {
        Self { highlighted: true, ..self }
    }

    pub(super) fn html(&self) -> String {
        let class = if self.highlighted { "tile highlighted" } else { "tile" };
        let note = if self.note.is_empty() {
            String::new()
        } else {
            format!("<span class=\"note\">{}</span>", escape(&self.note))
        };
        format!(
            "<div class=\"{class}\"><span class=\"label\">{}</span><span class=\"value\">{}</span>{note}</div>\n",
            escape(&self.label),
            escape(&self.value)
        )
    }
}

/// A picture of a gallery with its name and a sentence of explanation.
#[derive(Clone, Debug)]
pub struct Figure<'a> {
    picture: &'a Picture,
    caption: String,
    explanation: String,
}

impl<'a> Figure<'a> {
    /// A picture, its name, and what is to be seen; an empty explanation takes no room.
    pub fn new(picture: &'a Picture, caption: impl Into<String>, explanation: impl Into<String>) -> Self {
        Self { picture, caption: caption.into(), explanation: explanation.into() }
    }
}

/// A table of texts. The first column names the row, the others are set to the right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    pub fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// The table with one more row.
    pub fn row<S: Into<String>>(mut self, cells: impl IntoIterator<Item = S>) -> Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }
}

/// One bar of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    label: String,
    share: f64,
    text: String,
    highlighted: bool,
}

impl Bar {
    /// A bar filling `share` (0 to 1) of the width, with its value as `text`.
    pub fn new(label: impl Into<String>, share: f64, text: impl Into<String>) -> Self {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        Self { label: label.into(), share, text: text.into(), highlighted: false }
    }

    /// Makes it the one the reader should see.
    pub fn highlighted(self) -> Self {
        Self { highlighted: true, ..self }
    }
}

/// A command line to copy, with what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    explanation: String,
    line: String,
}

impl Command {
    /// What `line` does, and the line.
    pub fn new(explanation: impl Into<String>, line: impl Into<String>) -> Self {
        Self { explanation: explanation.into(), line: line.into() }
    }
}

/// A part of the page under one heading.
#[derive(Clone, Debug)]
pub struct Section {
    heading: String,
    body: String,
}

impl Section {
    pub(super) fn new(heading: String, introduction: String) -> Self {
        let mut section = Self { heading, body: String::new() };
        if !introduction.is_empty() {
            section.add_text(introduction);
        }
        section
    }

    pub(super) fn heading(&self) -> &str {
        &self.heading
    }

    pub(super) fn html(&self, number: usize) -> String {
        let heading = escape(&self.heading);
        format!("<section id=\"section-{number}\">\n<h2>{heading}</h2>\n{}</section>\n", self.body)
    }

    /// Adds a paragraph.
    pub fn add_text(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.body += &format!("<p>{}</p>\n", escape(text.as_ref()));
        self
    }

    /// Adds a chart, with what it shows said for those who cannot see it.
    ///
    /// # Errors
    /// [`crate::Error::Work`] if it cannot be drawn.
    pub fn add_chart(&mut self, chart: &Chart, description: impl AsRef<str>) -> Result<&mut Self> {
        let label = escape(description.as_ref());
        let svg = chart.svg()?;
        let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1);
        self.body += &format!("<div class=\"chart\">\n{svg}</div>\n");
        Ok(self)
    }

    /// Adds a large picture with a description for those who cannot see it and a caption.
    ///
    /// # Errors
    /// [`crate::Error::Work`] if the picture is empty.
    pub fn add_picture(
        &mut self,
        picture: &Picture,
        description: impl AsRef<str>,
        caption: impl AsRef<str>,
    ) -> Result<&mut Self> {
        let image = image(picture, description.as_ref())?;
        let caption = caption.as_ref();
        let caption = if caption.is_empty() {
            String::new()
        } else {
            format!("<figcaption>{}</figcaption>", escape(caption))
        };
        self.body += &format!("<figure class=\"wide\">{image}{caption}</figure>\n");
        Ok(self)
    }

    /// Adds pictures side by side, as many in a row as the window holds.
    ///
    /// # Errors
    /// [`crate::Error::Work`] if a picture is empty.
    pub fn add_gallery(&mut self, figures: &[Figure]) -> Result<&mut Self> {
        self.body += "<div class=\"gallery\">\n";
        for figure in figures {
            let image = image(figure.picture, &figure.caption)?;
            let caption = escape(&figure.caption);
            let explanation = escape(&figure.explanation);
            self.body += &format!(
                "<figure>{image}<figcaption><strong>{caption}</strong> {explanation}</figcaption></figure>\n"
            );
        }
        self.body += "</div>\n";
        Ok(self)
    }

    /// Adds a table.
    pub fn add_table(&mut self, table: &Table) -> &mut Self {
        let row = |cells: &[String], tag: &str| {
            let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        self.body += "<div class=\"scroll\"><table>\n";
        self.body += &format!("<thead>{}</thead>\n<tbody>\n", row(&table.header, "th"));
        table.rows.iter().for_each(|cells| self.body += &row(cells, "td"));
        self.body += "</tbody></table></div>\n";
        self
    }

    /// Adds names with their values, such as a configuration.
    pub fn add_settings<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        settings: impl IntoIterator<Item = (N, V)>,
    ) -> &mut Self {
        self.body += "<dl class=\"settings\">\n";
        for (name, value) in settings {
            let (name, value) = (escape(name.as_ref()), escape(value.as_ref()));
            self.body += &format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n");
        }
        self.body += "</dl>\n";
        self
    }

    /// Adds horizontal bars to compare a few values.
    pub fn add_bars(&mut self, bars: &[Bar]) -> &mut Self {
        self.body += "<div class=\"bars\">\n";
        for bar in bars {
            let class = if bar.highlighted { "bar highlighted" } else { "bar" };
            self.body += &format!(
                "<div class=\"{class}\"><span class=\"label\">{}</span><span class=\"track\"><span \
                 style=\"width:{:.1}%\"></span></span><span class=\"value\">{}</span></div>\n",
                escape(&bar.label),
                bar.share * 100.0,
                escape(&bar.text)
            );
        }
        self.body += "</div>\n";
        self
    }

    /// Adds command lines to copy.
    pub fn add_commands(&mut self, commands: &[Command]) -> &mut Self {
        for command in commands {
            self.body += &format!(
                "<div class=\"command\"><p>{}</p><pre><code>{}</code></pre></div>\n",
                escape(&command.explanation),
                escape(&command.line)
            );
        }
        self
    }
}

/// An `img` with the picture's PNG inside.
fn image(picture: &Picture, description: &str) -> Result<String> {
    Ok(format!(
        "<img src=\"data:image/png;base64,{}\" width=\"{}\" height=\"{}\" alt=\"{}\">",
        STANDARD.encode(picture.to_png()?),
        picture.width(),
        picture.height(),
        escape(description)
    ))
}
