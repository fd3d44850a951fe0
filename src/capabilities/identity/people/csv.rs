//! Comma-separated values (RFC 4180), as far as a list of people needs them: fields in quotes, lines of either ending.

use crate::base::{Error, Result};

/// Rows with the line on which each begins. A row that is empty is passed over.
pub(super) fn rows(text: &str) -> Result<Vec<(usize, Vec<String>)>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut begun, mut quoted) = (1, 1, false);
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '"' if quoted && signs.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            // Some programs write semicolons.
            ',' | ';' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                end(&mut rows, begun, &mut row, &mut field);
                line += 1;
                begun = line;
            }
            sign => {
                line += usize::from(sign == '\n');
                field.push(sign);
            }
        }
    }
    if quoted {
        return Err(Error::invalid(format!("the quotes that begin in line {begun} do not end")));
    }
    end(&mut rows, begun, &mut row, &mut field);
    Ok(rows)
}

fn end(rows: &mut Vec<(usize, Vec<String>)>, begun: usize, row: &mut Vec<String>, field: &mut String) {
    row.push(std::mem::take(field));
    let row = std::mem::take(row);
    if row.iter().any(|field| !field.trim().is_empty()) {
        rows.push((begun, row.into_iter().map(|field| field.trim().to_owned()).collect()));
    }
}

/// One line of these fields.
pub(super) fn line(fields: &[&str]) -> String {
    let mut line = fields.iter().map(|field| written(field)).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

/// A field in quotes where it must be; what a spreadsheet would take for a formula begins with an apostrophe.
fn written(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{field}") } else { field.to_owned() };
    match text.contains([',', ';', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_programs_write_them() {
        let text = "\u{feff}login,name\r\n\r\nada,\"Lovelace, Ada\"\n\"o\"\"b\";\"two\nlines\"\nlast, x ";
        let rows = rows(text).unwrap();
        let lines: Vec<usize> = rows.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 4, 6]);
        assert_eq!(rows[1].1, ["ada", "Lovelace, Ada"]);
        assert_eq!(rows[2].1, ["o\"b", "two\nlines"]);
        assert_eq!(rows[3].1, ["last", "x"]);
        assert!(super::rows("a,\"b").unwrap_err().message().contains("line 1"));
        assert!(super::rows("").unwrap().is_empty());
    }

    #[test]
    fn no_field_is_a_formula() {
        assert_eq!(
            line(&["=1+1", "a,b", "say \"x\"", "-2", "ok"]),
            "'=1+1,\"a,b\",\"say \"\"x\"\"\",'-2,ok\r\n"
        );
    }
}
