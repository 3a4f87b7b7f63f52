"""Paraphrases of trees by hand: every sentence that the rules can make, and no other."""

import jax
import pytest

from jaxdl.data import syntax_tree_paraphrase

KEYS = jax.random.split(jax.random.key(0), 40)
GIFT = (
    "(S (NP (DT The) (NN man)) (VP (VBD gave) (NP (DT a) (NN book)) (PP (TO to) (NP (NNP Ann) (CC and) (NNP Bob)))"
    " (PP (IN in) (NP (DT the) (NN park)))) (. .))"
)
RAIN = (
    "( (S (NP-SBJ (PRP I)) (VP (MD do) (RB n't) (VP (VB run) (SBAR (WHADVP (WRB when)) (S (NP (PRP it))"
    " (VP (VBZ rains)))))) (. .)) )"
)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        pytest.param(
            GIFT,
            {
                f"{front}{gave}{end}"
                for people in ("Ann and Bob", "Bob and Ann")
                for what in (f"a book to {people}", f"{people} a book")
                for front, gave, end in (
                    ("The man gave ", what, " in the park."),
                    ("In the park, the man gave ", what, "."),
                )
            },
            id="all three rules",
        ),
        pytest.param(
            RAIN, {"I don't run when it rains.", "When it rains, I don't run."}, id="clause, I, n't"
        ),
        pytest.param(
            "(S (NP (NNS Dogs) (CC or) (NNS cats)) (VP (VBP bark)) (. !))",
            {"Dogs or cats bark!", "Cats or dogs bark!"},
            id="capitals",
        ),
        pytest.param(
            "(S (NP (NNP Ann) (CC and) (NNP Bob)) (VP (VBP run)))",
            {"Ann and Bob run", "Bob and Ann run"},
            id="names",
        ),
        pytest.param(
            "(S (NP (PRP He)) (VP (VBD ran) (ADVP (RB quickly))) (. .))",
            {"He ran quickly.", "Quickly, he ran."},
            id="adverb",
        ),
        pytest.param(
            "(S (NP (PRP She)) (VP (VBD said) (SBAR (IN that) (S (NP (PRP he)) (VP (VBD left))))) (. .))",
            {"She said that he left."},
            id="what a verb needs stays",
        ),
        pytest.param(
            "(S (NP (NN Tea)) (VP (VBZ is) (PP (IN in) (NP (DT the) (NN pot)))) (. .))",
            {"Tea is in the pot."},
            id="what is the predicate stays",
        ),
        pytest.param(
            "(S (NP (PRP I)) (VP (VBD gave) (NP (PRP it)) (PP (TO to) (NP (NNP Ann)))))",
            {"I gave it to Ann"},
            id="no pronoun shifts",
        ),
        pytest.param(
            "(S (NP (PRP I)) (VP (VBD drove) (NP (DT a) (NN car)) (PP (TO to) (NP (NNP Rome)))))",
            {"I drove a car to Rome"},
            id="only givers give",
        ),
        pytest.param(
            "(S (S (NP (PRP I)) (VP (VBD came))) (CC and) (S (NP (PRP I)) (VP (VBD saw))))",
            {"I came and I saw"},
            id="clauses keep their order",
        ),
        pytest.param(
            "(S (NP-SBJ (-NONE- *)) (VP (VB Buy) (NP (NN tea) (-LRB- -LRB-) (JJ hot) (-RRB- -RRB-))) (. .))",
            {"Buy tea (hot)."},
            id="traces and brackets",
        ),
    ],
)
def test_all_that_can_be_said(tree, expected):
    assert {syntax_tree_paraphrase(key, tree) for key in KEYS} == expected


def test_rate_and_key():
    key = KEYS[0]
    as_it_was = "The man gave a book to Ann and Bob in the park."
    assert syntax_tree_paraphrase(key, GIFT, rate=0.0) == as_it_was
    assert syntax_tree_paraphrase(key, GIFT, rate=1.0) == "In the park, the man gave Bob and Ann a book."
    assert syntax_tree_paraphrase(key, GIFT) == syntax_tree_paraphrase(key, GIFT)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        pytest.param("I run", "does not begin with a bracket", id="text"),
        pytest.param("(S (NP I)", "a bracket is not closed", id="open"),
        pytest.param("(S (NP I)) (S (NP I))", r"'\(' follows after its end", id="two"),
        pytest.param("(S (NP I run))", "'I run' has no label of its own", id="two words"),
        pytest.param("(S (NP))", "NP is empty", id="empty"),
        pytest.param("", "does not begin", id="nothing"),
        pytest.param("(S (-NONE- *))", "only traces", id="traces"),
    ],
)
def test_errors(tree, message):
    with pytest.raises(ValueError, match=message):
        syntax_tree_paraphrase(KEYS[0], tree)
    with pytest.raises(ValueError, match="rate must be between"):
        syntax_tree_paraphrase(KEYS[0], GIFT, rate=-1)
