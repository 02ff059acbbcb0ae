package rules

// MaxSource is how long an expression may be, in bytes.
const MaxSource = 16 << 10

const (
	maxNesting        = 100 // of parentheses and operators
	maxNodes          = 4096
	maxComprehensions = 3 // one within the other
	maxBinds          = 8 // cel.bind within another
	maxRegexProgram   = 1024
	maxPrecision      = 100
	maxRange          = 10_000
	cachedFilters     = 1024 // by their sources
	cachedExprs       = 1024
	plannedPrograms   = 4096 // of parts of filters that only CEL can evaluate

	// maxLinearCalls is how many calls that read all of a string or a list an
	// expression may have and still run without a budget.
	maxLinearCalls = 8

	// maxBudgets is how many parts with a budget, and maxLinearTests how many parts
	// and tests that read all of a text or a list a filter may have, before it is
	// run as a whole.
	maxBudgets     = 4
	maxMatches     = 8 // regular expressions
	maxLinearTests = 16
	// quickSteps bounds a regular expression that is run without a budget: the
	// length of the text times the size of the program.
	quickSteps = 128 << 10

	// sqlWork is how often an SQL expression may read or write as many bytes as its
	// event has (at least budgetStep).
	sqlWork = 64
	// maxLikeWeight bounds how often a LIKE that runs without a budget may look at
	// one character.
	maxLikeWeight = 16
	// maxFolded is how long a text that a filter keeps in place of a part of its
	// source may be, in bytes.
	maxFolded = 1 << 10
	// maxProblems is how many problems of one filter are reported.
	maxProblems = 32
	// maxFilterNesting is how deep all, any and not may stand in each other.
	maxFilterNesting = 32
	// maxFields is how many fields a pattern may name, and maxWays how many
	// combinations its $or may make, as in EventBridge.
	maxFields = 256
	maxWays   = 1000
	// maxWildcard bounds the text of a wildcard, in bytes, and maxRegexPrograms the
	// steps of all regular expressions of a pattern together.
	maxWildcard      = 512
	maxRegexPrograms = maxRegexProgram

	// baseBudget is the cost that an expression may have on an event of up to
	// budgetStep bytes; it doubles whenever the event is twice as large. 10,000
	// units are about one millisecond.
	baseBudget = 10_000
	budgetStep = 16 << 10
	maxTier    = 6 // the budget grows to 64 times the base

	// maxOutput bounds what one call may make of its arguments, in bytes.
	maxOutput = 4 << 20
	// maxEncoded bounds the text that json.encode makes of a value that is not
	// the event's own.
	maxEncoded = 256 << 10
	// maxPairs bounds the comparisons of one call, for calls that compare the
	// members of lists with each other.
	maxPairs = 250_000
	// maxRegexSteps bounds the length of the text times the size of the program.
	maxRegexSteps = 4 << 20
	// maxPatternSteps bounds what a pattern does on one event, in the same measure.
	maxPatternSteps = 8 << 20
	// maxRegexWork bounds the same times the number of matches.
	maxRegexWork = 8 << 20

	// maxSearch bounds the product of the lengths of a text and what indexOf looks
	// for in it.
	maxSearch = 16 << 20
)

// tier says which budget an event of this size has.
func tier(size int) int {
	t := 0
	for limit := budgetStep; size > limit && t < maxTier; limit *= 2 {
		t++
	}
	return t
}

func budget(tier int) uint64 { return baseBudget << tier }
