// How the search ranks: as Sphinx does, but "Start here", where newcomers' questions are
// answered, goes before pages in which the same words happen to stand.
var Scorer = {
    score: ([page, title, anchor, description, score]) =>
        page === "book/start" ? 3 * score : score,
    objNameMatch: 11,
    objPartialMatch: 6,
    objPrio: {0: 15, 1: 5, 2: -5},
    objPrioDefault: 0,
    title: 15,
    partialTitle: 7,
    term: 5,
    partialTerm: 2,
};
