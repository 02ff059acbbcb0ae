package storetest

// caughtBy says which checks catch which mutant: the nearest to what is wrong.
func caughtBy() map[string][]string {
	return map[string][]string{
		"keeps no table": {
			"a table has the newest event of each subject",
			"a table is read in order of subject, by prefix and in pages",
		},
		"keeps a table of every bus": {
			"a bus without a table says so",
		},
		"keeps the oldest event of a subject": {
			"a table has the newest event of each subject",
		},
		"leaves out a row at the end of a page": {
			"a table is read in order of subject, by prefix and in pages",
		},
		"finds a row by the start of its subject": {
			"a table has the newest event of each subject",
		},
		"lets retention remove rows": {
			"retention spares the rows of a table",
		},
		"keeps rows that were replaced": {
			"a row that is replaced after retention passed it is gone",
		},
		"takes an event without data for a row": {
			"an event without data ends the row of its subject",
		},
		"keeps events without a subject": {
			"events without a subject have no place in a table",
		},
		"forgets what is owed once a newer event replaces it": {
			"what is owed is kept though it is no row any more",
		},
		"begins a table with what comes": {
			"a table is made of what was there, and dropped",
		},
		"loses a row now and then": {
			"rows survive much that came after them",
		},
		"loses the rows in a crash": {
			"a table survives a crash",
		},
		"does not look for the time of rows": {
			"SequenceAt finds rows that retention has passed",
		},
		"forgets many objects in a crash": {
			"many objects are written at once, whatever their versions are",
		},
		"traces a removed subscription without its name": {
			"a trace names a subscription that was removed since",
		},
		"takes a scheduled event for one that was published when it was due": {
			"a receipt says whether an event was scheduled or of a transaction",
		},
		"lists attempts of the oldest event first": {
			"recent attempts of a subscription are listed, newest event first, in pages",
		},
		"lists attempts without what is known of a failure": {
			"recent attempts of a subscription are listed, newest event first, in pages",
		},
		"lists attempts of every subscription": {
			"recent attempts of a subscription are listed, newest event first, in pages",
		},
		"acknowledges an event that it does not keep": {
			"sequences have no gaps under concurrent appends, per bus",
		},
		"answers with the sequence of another event": {
			"an append that fails leaves nothing behind",
		},
		"leaves out a sequence": {
			"everything may be called at once",
		},
		"keeps the first part of a batch that fails": {
			"a batch with an unknown bus leaves nothing anywhere",
		},
		"keeps a batch and says that it failed": {
			"an append that fails leaves nothing behind",
		},
		"appends a batch in reverse": {
			"reads append to what they are given",
		},
		"refuses an empty batch": {
			"a batch is recorded across its buses in its order",
		},
		"records at the time of a clock that goes back": {
			"recorded never decreases when the clock goes back",
		},
		"forgets who brought an event": {
			"a record is read as it was appended",
		},
		"forgets through how many buses an event came": {
			"a record is read as it was appended",
		},
		"does not tell the watcher": {
			"the watcher hears when deliveries become ready",
		},
		"tells the watcher of another bus": {
			"the watcher is told of appends",
		},
		"makes a new bus each time": {
			"a bus is found again by its name",
			"events survive reopening",
		},
		"loses the newest event when it is closed": {
			"closing beside appends loses nothing that was acknowledged",
		},
		"loses the newest event in a crash": {
			"an acknowledged event survives a crash",
		},
		"mixes up two of many buses": {
			"a thousand buses keep their events apart",
		},
		"shows an event that is not kept": {
			"a reader beside appends sees no gaps and nothing that is not there at the end",
			"purged letters are gone, unknown ones are passed over",
		},
		"reads old events last": {
			"reads page through a bus by number and by size",
		},
		"does not heed the size of a page": {
			"reads page through a bus by number and by size",
		},
		"reads nothing when an event is larger than the page": {
			"Await returns when there is more, not before",
		},
		"reads over what it is given": {
			"reads append to what they are given",
		},
		"finds nothing below the first event": {
			"reads below the first event start at it",
		},
		"shows an event only at the second look": {
			"concurrent duplicates are stored once",
			"what was acknowledged can be read at once",
		},
		"says that what never was is trimmed": {
			"an event that never was is not found",
		},
		"finds the event after a time": {
			"SequenceAt finds the first event of a time",
		},
		"does not find by an extension": {
			"a scan finds events by their attributes, in both directions",
		},
		"scans upwards only": {
			"a scan finds events by their attributes, in both directions",
		},
		"passes over an event when a scan goes on": {
			"a scan goes on where it ended",
		},
		"does not list what has expired": {
			"events are listed by their deliveries, in both directions and in pages",
		},
		"forgets dead letters in a search": {
			"events are listed by their deliveries, in both directions and in pages",
		},
		"does not list what retention has passed": {
			"a search finds what is owed or dead after retention passed it",
		},
		"does not scan what retention has passed": {
			"a search finds what is owed or dead after retention passed it",
		},
		"scans beyond the range": {
			"a scan keeps to its range and to what retention has left",
		},
		"does not wait for more": {
			"Await ends with its context",
		},
		"waits for ever": {
			"Await ends with its context",
		},
		"takes any bus for an empty one": {
			"an unknown bus is not found by anything",
		},
		"knows no duplicates": {
			"a duplicate in the same batch is stored once",
		},
		"knows duplicates for ever": {
			"a duplicate is known after reopening",
			"after its window an event is stored again",
		},
		"knows duplicates without a window": {
			"without a window nothing is a duplicate",
		},
		"takes the same event on another bus for a duplicate": {
			"buses deduplicate on their own",
		},
		"answers a duplicate without a sequence": {
			"a duplicate in the same batch is stored once",
		},
		"does not say that a duplicate is one": {
			"a duplicate in the same batch is stored once",
		},
		"knows no duplicates after reopening": {
			"a duplicate is known after reopening",
		},
		"knows no duplicates after a crash": {
			"a duplicate is known after a crash",
		},
		"forgets the identities of what retention removes": {
			"a duplicate of an event that retention removed is still known",
		},
		"forgets the identity of a scheduled event at its time": {
			"duplicates of a scheduled event are known before and after its time",
		},
		"remembers the identity of a cancelled event": {
			"a cancelled event can be published again",
		},
		"records scheduled events at once": {
			"scheduled events are listed by time, in pages",
		},
		"never records scheduled events": {
			"a batch may hold both scheduled and present events",
			"scheduled events are recorded in order of their times",
		},
		"records scheduled events in the order in which they came": {
			"scheduled events are listed by time, in pages",
		},
		"schedules what is due already": {
			"an event that is due already is recorded at once",
		},
		"lists scheduled events without their end": {
			"scheduled events are listed by time, in pages",
		},
		"lists scheduled events of any id": {
			"scheduled events are listed by time, in pages",
		},
		"does not cancel": {
			"an unknown bus is not found by anything",
		},
		"cancels one of several events with a name": {
			"cancelling means every event with the source and id, and no other",
		},
		"cancels by what events are deduplicated on": {
			"cancelling means every event with the source and id, and no other",
		},
		"cancels all events of a source": {
			"a cancelled event is never recorded",
			"cancelling means every event with the source and id, and no other",
		},
		"loses what is scheduled when it is closed": {
			"a cancelled event is never recorded",
			"scheduled events survive reopening, and come when they fell due meanwhile",
		},
		"loses what is scheduled in a crash": {
			"a scheduled event survives a crash",
		},
		"does not count scheduled events": {
			"a scheduled event is not seen before its time and recorded after it",
		},
		"does not count duplicates": {
			"a duplicate answers the original's sequence",
		},
		"does not count events": {
			"an open store accepts events",
		},
		"loses a delivery": {
			"a delivery that is settled while others claim is not handed out again",
		},
		"gives each event to all subscriptions": {
			"a routed event is delivered to each subscription that it matched, and no other",
			"dead letters are listed oldest first, in pages",
		},
		"fails on a match of a subscription that is gone": {
			"a match of a subscription that is gone is passed over",
		},
		"queues a match twice": {
			"a match that is queued, in flight or dead already is passed over",
		},
		"does not move the position": {
			"the position is what the router said",
		},
		"hands out a delivery twice": {
			"a delivery that is settled while others claim is not handed out again",
			"concurrent claims never hand out a delivery twice",
		},
		"hands out again what is in flight for an hour": {
			"a claimed delivery is not handed out again",
		},
		"hands out again what is being settled": {
			"a delivery that is settled while others claim is not handed out again",
		},
		"claims more than it is asked for": {
			"a claim gives no more than asked, and all comes in the end",
		},
		"claims over what it is given": {
			"a claim gives no more than asked, and all comes in the end",
		},
		"forgets the end of a long queue": {
			"a long queue is delivered whole",
		},
		"hands out a long queue from the front again": {
			"a long queue is delivered whole",
		},
		"does not find subscriptions wrongly": {
			"an unknown subscription is not found by anything",
		},
		"ignores expired outcomes": {
			"a dead or expired delivery lets the next of its key through",
			"a trace shows the state of every delivery of an event",
			"done and expired settle a delivery for good",
		},
		"ignores what is done": {
			"an orphan that owes nothing is removed at once",
		},
		"retries at once": {
			"a retry without an attempt is not counted",
		},
		"retries by the full minute": {
			"a retry without an attempt is not counted",
		},
		"retries never": {
			"a subscription shows its last error",
		},
		"does not say when the next is due": {
			"a retry comes at its time and not before",
			"the next time for a held key is that of its first delivery",
		},
		"forgets attempts": {
			"a subscription shows its last error",
		},
		"counts attempts that were not made": {
			"a retry without an attempt is not counted",
		},
		"takes every attempt for the first": {
			"attempts are numbered and say why they are made",
		},
		"counts a release as a retry": {
			"a released delivery is as it was",
		},
		"settles what is not claimed": {
			"an outcome for what is not claimed is passed over",
		},
		"gives another record to a delivery": {
			"a delivery carries the record as it was appended",
		},
		"gives no key to a delivery": {
			"a delivery carries the record as it was appended",
		},
		"counts wrong": {
			"a subscription counts what it owes",
			"what was in flight is delivered again after reopening",
		},
		"shows no last error": {
			"a subscription shows its last error",
		},
		"lets the position pass what is unsettled, seen after reopening": {
			"at any moment nothing owed is lost after reopening",
			"what was queued and not claimed is delivered after reopening",
		},
		"lets the position pass what is unsettled, seen after a crash": {
			"what was queued and not claimed is delivered after a crash",
		},
		"forgets what is in flight when it is closed": {
			"what was queued and not claimed is delivered after reopening",
		},
		"forgets what is in flight in a crash": {
			"at any moment nothing owed is lost after a crash",
			"what was in flight is delivered again after a crash",
		},
		"repeats everything after reopening": {
			"a checkpoint keeps what was settled from being repeated after reopening",
			"what was settled before a clean close is not repeated",
		},
		"repeats everything after a crash": {
			"a checkpoint keeps what was settled from being repeated after a crash",
		},
		"unpauses when it is closed": {
			"a pause outlives reopening",
			"commands stay done after reopening",
		},
		"unpauses in a crash": {
			"commands stay done after a crash",
		},
		"does not order": {
			"with order key one delivery of a key is claimed at a time, in bus order",
		},
		"orders by key strictly": {
			"with order key a failing delivery holds back its own key only",
			"with order key deliveries without a key are not ordered",
		},
		"orders strictly by key": {
			"first successes are in bus order under random failures with order strict",
			"with order strict one delivery is claimed at a time, in bus order",
		},
		"orders what need not be": {
			"with order none a failing delivery holds back nothing",
		},
		"orders strictly always": {
			"an outcome for what is not claimed is passed over",
		},
		"lets a dead letter hold its key": {
			"dead letters end after thirty days",
		},
		"keeps the order of its first opening": {
			"a changed order holds for what is queued",
		},
		"brings a retry to the end of the queue": {
			"first successes of a key are in bus order under random failures",
		},
		"starts a new subscription at the beginning": {
			"a new subscription starts at the end of the bus",
		},
		"makes a new subscription each time": {
			"a subscription is found again by its name",
		},
		"lists subscriptions in another order": {
			"subscriptions are listed in order of name",
		},
		"keeps every orphan": {
			"an orphan that owes nothing is removed at once",
		},
		"removes every orphan": {
			"a redriven letter of an orphan waits for its adoption",
		},
		"claims from orphans": {
			"an orphan that owes is kept, unclaimed, until it is adopted",
		},
		"purges nothing": {
			"an unknown subscription is not found by anything",
		},
		"purges dead letters too": {
			"an orphan with dead letters is kept until they are gone",
		},
		"does not purge what is in flight": {
			"an orphan with dead letters is kept until they are gone",
			"purging drops all that is owed and no dead letters",
			"purging drops what is in flight",
		},
		"uses ids of subscriptions again": {
			"ids of subscriptions are not used again",
		},
		"purges a subscription that moves": {
			"a subscription that moves to another bus keeps what it owes",
		},
		"claims during a pause": {
			"a pause outlives reopening",
		},
		"does not resume": {
			"an unknown subscription is not found by anything",
		},
		"passes over outcomes during a pause": {
			"what is in flight can be settled during a pause",
		},
		"counts pauses into the age": {
			"the age of a delivery leaves pauses out",
		},
		"starts the age anew after reopening": {
			"the age of a delivery goes on across reopening",
		},
		"forgets why it is paused": {
			"a paused subscription is not claimed from, and goes on when resumed",
		},
		"shows only the last attempt of a dead letter": {
			"a dead letter has its reason, its record and all its attempts",
			"a redriven delivery has a fresh budget and keeps its attempts",
		},
		"lists the newest dead letter first": {
			"dead letters survive reopening",
		},
		"begins anew at a malformed cursor": {
			"a malformed cursor is not found",
		},
		"takes any cursor of the schedule": {
			"a malformed cursor of the schedule is not found",
		},
		"pages dead letters by their number": {
			"paging goes on when letters leave the list meanwhile",
		},
		"redrives the last first": {
			"redriven letters come again in the order in which they were queued first",
		},
		"redrives with the old budget": {
			"a redriven delivery has a fresh budget and keeps its attempts",
		},
		"keeps redriven letters in the list": {
			"a redriven delivery has a fresh budget and keeps its attempts",
		},
		"purges no dead letters": {
			"purged letters are gone, unknown ones are passed over",
		},
		"loses dead letters when it is closed": {
			"dead letters survive reopening",
		},
		"adopts an orphan by its redrive": {
			"a redriven letter of an orphan waits for its adoption",
		},
		"drops dead letters with retention": {
			"a dead letter's record outlives retention and can be redriven",
			"dead letters end after thirty days",
		},
		"keeps dead letters for ever": {
			"dead letters end after thirty days",
		},
		"keeps everything": {
			"retention by size removes the oldest",
		},
		"holds nothing": {
			"what is held stays until it is released, and is held again after reopening",
		},
		"keeps nothing for longer than a year": {
			"without limits nothing is removed",
		},
		"keeps the options of its first opening": {
			"changed options hold for what is there",
		},
		"removes what is owed": {
			"what is owed can be delivered and read after retention passed it",
		},
		"removes what was not routed": {
			"what was not routed yet is not removed",
		},
		"says that what retention removed never was": {
			"retention removes what is too old and keeps the rest",
		},
		"starts the sequences of an empty bus anew": {
			"an empty bus goes on with its sequences",
		},
		"drops no bus": {
			"an unknown bus is not found by anything",
		},
		"uses the id of a dropped bus again": {
			"a dropped bus is gone, and its name makes a new one",
		},
		"drops what is owed with its bus": {
			"dropping a bus leaves what its subscriptions are owed",
		},
		"does not heed the version that is expected": {
			"a write with another version than the present one is a conflict",
		},
		"checks a version before it takes the lock": {
			"of concurrent writers with one version one wins",
		},
		"starts the versions of each object anew": {
			"versions grow, also across deletion",
		},
		"cuts the values of objects": {
			"an object is read as it was written",
		},
		"lists objects in another order": {
			"objects are listed by kind in order of name",
		},
		"loses objects when it is closed": {
			"objects survive reopening",
		},
		"loses objects in a crash": {
			"objects survive a crash",
		},
		"ends receipts an event early": {
			"a receipt says whether an event was scheduled or of a transaction",
		},
		"ends timelines an event early": {
			"the timelines of many events are those of each",
		},
		"keeps no traces": {
			"a trace of a redriven delivery goes on",
		},
		"traces what is not there": {
			"an event that matched nothing has an empty trace",
		},
		"traces without attempts": {
			"a trace of a redriven delivery goes on",
			"a trace shows every attempt and why it ended",
		},
		"loses traces when it is closed": {
			"a trace survives reopening",
		},
		"refuses events": {
			"an open store accepts events",
		},
		"goes on after Close": {
			"everything of a closed store answers that it is closed",
		},
		"lets those wait who wait when it is closed": {
			"closing ends those that wait",
		},
		"fails when it is closed twice": {
			"closing beside appends loses nothing that was acknowledged",
		},
		"commits the first event of a transaction only": {
			"events of a transaction are unseen until it is committed, then all there",
		},
		"commits scheduled events of a transaction at once": {
			"a transaction may hold scheduled events",
		},
		"commits into other buses what a dropped one lacks": {
			"a transaction of a dropped bus cannot be committed, only rolled back",
		},
		"never parks a transaction": {
			"how far asking about a transaction is survives, and parks it in the end",
		},
		"forgets open transactions when it is closed": {
			"transactions survive reopening, open and finished",
		},
		"forgets open transactions in a crash": {
			"transactions survive a crash at every step",
		},
		"remembers every transaction": {
			"the newest finished transactions are remembered and no more",
		},
		"commits a transaction again": {
			"a commit that is repeated answers the same and records nothing",
		},
		"commits what was rolled back": {
			"events of a transaction that is rolled back never come",
		},
		"does not deduplicate a transaction": {
			"a transaction is deduplicated when it is committed",
		},
		"rolls back nothing": {
			"events of a transaction that is rolled back never come",
		},
		"queues replayed deliveries as live ones": {
			"a replay queues events again, marked, under ids of their own",
		},
		"orders replayed deliveries with live ones": {
			"a replay and the live flow do not hold each other back",
		},
		"replays without an order": {
			"a replay is in order in itself",
		},
		"does not move a replay": {
			"a replay says how far it is",
		},
		"lets a replay go first": {
			"a busy live flow leaves a replay its share and no more",
		},
		"keeps no dead letters of replays": {
			"dead letters of a replay are the subscription's",
		},
		"loses what a replay queued when it is closed": {
			"what a replay queued and how far it is survive together",
		},
		"forgets a seek in a crash": {
			"a seek back survives a crash",
		},
		"drops nothing with a replay": {
			"a dropped replay drops what it queued and nothing else",
		},
		"drops all with a part of a replay": {
			"a dropped replay drops what it queued and nothing else",
		},
		"goes on with a replay that was purged": {
			"a purge ends the replays of a subscription",
		},
		"queues again what it has queued": {
			"a replay passes over what it has queued before",
		},
		"uses the number of a replay again": {
			"numbers of replays are not used again",
		},
		"lets retention take what a replay owes": {
			"a replay keeps the events that it owes",
		},
		"drops nothing with a seek": {
			"a seek back drops what is owed and queues again from there on",
			"a seek to the end drops all",
		},
		"claims what is later than a seek has queued": {
			"after a seek back nothing later is claimed before what it queues",
		},
		"seeks one event too far": {
			"a seek ahead drops what is owed before",
		},
		"mixes up the order with a seek": {
			"a seek ahead keeps the order of what is left",
		},
		"leaves replays alone with a seek": {
			"a seek ends the replays of the subscription",
		},
		"leaves no trace of what a seek drops": {
			"what a seek drops is traced with its attempts",
		},
		"takes what was not routed after a seek": {
			"a seek ahead of what is routed drops that too",
		},
	}
}
