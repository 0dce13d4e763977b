import pickle

from components.example_gen.sources.errors import DataError, listed, quoted


def test_message_has_all_parts_in_one_line() -> None:
    error = DataError("a\nb.csv, row 3", "'x'", "a number", "correct it")
    assert str(error) == "a b.csv, row 3: found 'x', expected a number; correct it"
    assert str(DataError("a.csv", "'x'", "a number")) == "a.csv: found 'x', expected a number"


def test_survives_pickling_and_passing_on_as_text() -> None:
    error = DataError("a.csv", "'x'", "a number", "correct it")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.fix) == (DataError, str(error), "correct it")
    assert str(DataError(str(error))) == str(error)


def test_long_values_are_shortened() -> None:
    assert len(quoted("x" * 10_000)) < 200
    assert quoted("short") == "'short'"
    assert listed([str(number) for number in range(12)]).endswith("'9' and 2 more")
    assert listed([]) == "nothing"
