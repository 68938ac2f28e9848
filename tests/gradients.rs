//! Every reverse rule against central differences, in f64.

use langevin::ops::case::check_gradient;
use langevin::ops::catalog;

#[test]
fn reverse_rules_match_central_differences() {
    let cases: Vec<_> = catalog().into_iter().flat_map(|(_, c)| c).filter(|c| c.has_gradient()).collect();
    let failures: Vec<String> =
        cases.iter().filter_map(|case| check_gradient(case).err()).map(|e| e.to_string()).collect();
    println!("gradient cases: {}", cases.len());
    assert!(cases.len() >= 10, "the catalog lost its gradient cases");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
