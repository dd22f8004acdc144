//! `cases.csv`: one line for each candidate.

use super::scored::Scored;
use crate::Result;
use crate::evaluate::table::CsvText;

/// The whole file: `name,path,x,y,z,split,group,scan,annotation,label,prediction` and
/// `probability_<class>` for each class; a missing value is an empty cell. It can be read again as
/// predictions. Where rows became one, path and place are those of the group's first row.
///
/// # Errors
/// None that a valid table can cause.
pub fn csv(scored: &Scored, threshold: f64) -> Result<Vec<u8>> {
    const COLUMNS: [&str; 11] =
        ["name", "path", "x", "y", "z", "split", "group", "scan", "annotation", "label", "prediction"];
    let classes = &scored.table.classes;
    let mut table = CsvText::new();
    let probabilities = classes.iter().map(|class| format!("probability_{class}"));
    table.row(COLUMNS.map(String::from).into_iter().chain(probabilities))?;
    for ((row, values), decision) in scored.rows().zip(scored.decisions(threshold)) {
        let place = row.position_mm.map(|place| place.map(|value| value.to_string())).unwrap_or_default();
        let [x, y, z] = &place;
        let text = |cell: &'_ Option<std::sync::Arc<str>>| cell.as_deref().unwrap_or("").to_string();
        let label = row.label.map(|label| classes[label].clone()).unwrap_or_default();
        let cells = [
            row.name.clone(),
            row.volume.to_string(),
            x.clone(),
            y.clone(),
            z.clone(),
            text(&row.split),
            text(&row.group),
            text(&row.scan),
            text(&row.annotation),
            label,
            classes[decision].clone(),
        ];
        let probabilities = values.iter().map(|value| value.to_string());
        table.row(cells.into_iter().chain(probabilities))?;
    }
    table.finish()
}
