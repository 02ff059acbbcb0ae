// One event: what it is, what happened to it, and why rules match it or not.
import { h, fill, link, problem, failing, say, ask, act, empty, button, facts, table } from '../dom.js';
import { get, post, all, every, path, address } from '../api.js';
import { time, state, badge, to, many, duration, span } from '../words.js';
import { block, after } from '../json.js';

// explainedAtOnce is up to how many rules a bus may have to be explained unasked.
const explainedAtOnce = 30;

// deliveriesShown bounds the deliveries of one page.
const deliveriesShown = 200;

// attemptsShown is how many attempts of a delivery are shown unfolded: the first
// two, and the last.
const attemptsShown = 5;

export default async function event({ main, params: [bus, seq], query, signal }) {
  const where = path('buses', bus, 'events', seq);
  const failures = h('div');
  const outcome = h('div');
  const attributes = h('section', { 'aria-label': 'Attributes' });
  const timeline = h('section', { 'aria-label': 'Timeline' }, h('p', { class: 'loading' }, 'Reading what happened…'));
  const why = h('section', { 'aria-label': 'Rules' });
  const title = h('h1', {}, `${bus} #${seq}`);
  const lead = h('p', { class: 'lead' });
  const replayButton = button('Replay to a rule…', null, { disabled: true });
  const n = /^\d{1,15}$/.test(seq) ? Number(seq) : 0;
  main.append(h('p', { class: 'crumbs' }, link(to.events(bus), `Events of ${bus}`)),
    h('div', { class: 'head' }, h('div', {}, title, lead), h('div', { class: 'actions' },
      n > 1 && link(to.event(bus, n - 1), '← Before'), n > 0 && link(to.event(bus, n + 1), 'Next →'), replayButton)),
    failures, outcome, timeline, attributes, why);

  const ev = await get(where, {}, signal);
  title.textContent = ev.type;
  lead.append(`${bus} #${seq}`, ev.subject ? ` · subject ${ev.subject}` : '', ` · source ${ev.source}`);
  showEvent(attributes, ev, address(where));

  const names = (await all('v1/rules', {}, signal)).items.filter((r) => r.bus === bus).map((r) => r.name);
  let before = '';
  const refresh = every(3000, signal, async () => {
    const trace = await get(where + '/trace', { rules: true, transforms: true }, signal);
    fill(failures);
    const now = JSON.stringify(trace);
    if (now === before && !trace.deliveries.some((d) => d.nextAttempt)) return; // which counts down
    before = now;
    fill(timeline, h('h2', {}, 'What happened'), showTimeline(trace, ev, (work) => async (e) => {
      await act(e.currentTarget, outcome, work);
      refresh();
    }));
  }, failing(failures, timeline));

  replayButton.disabled = names.length === 0;
  replayButton.onclick = async () => {
    const name = await chooseRule(names);
    if (!name) return;
    const sure = await ask({
      title: `Replay to ${name}?`, confirm: 'Replay',
      body: `If rule ${name} matches this event now, it is delivered to the rule's targets once more, marked as a replay. A receiver that took it before gets it again.`,
    });
    if (!sure) return;
    await act(replayButton, outcome, async () => {
      const started = await post(path('buses', bus, 'replay'), { from: Number(seq), to: Number(seq), rules: [name] });
      say(`Replay ${started.id} has begun.`);
      refresh();
    });
  };
  await showRules(why, { where, names, query, signal });
}

// chooseRule lets the reader pick one of the names; none is picked with null.
async function chooseRule(names) {
  const select = h('select', { id: 'choose-rule' }, names.map((n) => h('option', { value: n }, n)));
  const sure = await ask({ title: 'Replay to a rule', confirm: 'Go on', body: h('span', { class: 'stack' }, h('label', {}, 'The rule to deliver it for', select)) });
  return sure ? select.value : null;
}

function showEvent(section, ev, raw) {
  const own = new Set(['data', 'data_base64']);
  const order = ['id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema', 'specversion'];
  const rank = (name) => (order.indexOf(name) + 1 || order.length + 1);
  const rows = Object.keys(ev).filter((k) => !own.has(k)).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  fill(section, h('h2', {}, 'The event'),
    h('div', { class: 'two' },
      h('div', { class: 'panel' }, facts(rows.map((k) => [k, typeof ev[k] === 'string' ? ev[k] : JSON.stringify(ev[k])]))),
      h('div', { class: 'panel' }, h('h3', {}, 'Data'),
        'data' in ev ? block(ev.data, { raw })
          : 'data_base64' in ev ? [h('p', { class: 'note' }, 'Bytes, in base64:'), block(ev.data_base64, { raw })]
            : h('p', { class: 'soft' }, 'It has no data.'),
        h('p', { class: 'note' }, h('a', { href: raw }, 'The event as JSON')))));
}

// cameFrom says in words who brought an event.
function cameFrom(t) {
  const o = t.origin;
  const from = o.from;
  const of = from && [' made of ', from.bus ? link(to.event(from.bus, from.sequence), `${from.bus} #${from.sequence}`) : `#${from.sequence} of a bus that is gone`];
  const by = o.rule && [' by ', link(to.subscription(o.rule, o.target), `${o.rule} → ${o.target}`)];
  switch (o.kind) {
    case 'http': return ['Received over HTTP', o.principal && ` from ${o.principal}`];
    case 'transaction': return ['Received with a transaction', o.principal && ` from ${o.principal}`];
    case 'source': return ['Received by the ', o.source || 'source', o.source && ' source', ' ', link(to.source(o.principal), o.principal)];
    case 'bus': return ['Published by a bus target', by, of && [',', of]];
    case 'reply': return ['A receiver’s reply', by && [' to', of, by]];
    case 'deadletter': return ['A dead letter', by, of && [',', of]];
    case 'system': return ['Made by Switchyard itself'];
    default: return [`Received via ${t.via}`];
  }
}

// showTimeline says in words what a trace has.
function showTimeline(t, ev, acting) {
  const first = [];
  if (t.origin.accepted && t.origin.due) {
    first.push(moment('good', t.origin.accepted, 'Acknowledged, scheduled for ', time(t.origin.due)));
  }
  first.push(moment('good', t.received, cameFrom(t), `, stored as #${t.sequence} of ${t.bus}`,
    t.origin.transaction && `, committed with ${t.origin.transaction}`, t.archived && ', read from the archive'));
  first.push(matching(t));
  for (const f of t.failedFilters ?? []) {
    first.push(moment('warn', null, 'Rule ', link(to.rule(f.rule), f.rule), ' does not match, for its filter fails: ', h('span', { class: 'mono' }, f.error)));
  }
  return [h('ol', { class: 'timeline panel' }, first), t.deliveries.slice(0, deliveriesShown).map((d) => showDelivery(d, t, ev, acting)),
    t.deliveries.length > deliveriesShown && h('p', { class: 'note' }, `The first ${deliveriesShown} of ${many(t.deliveries.length, 'delivery', 'deliveries')}. `,
      h('a', { href: address(path('buses', t.bus, 'events', t.sequence) + '/trace') }, 'All of them as JSON'))];
}

// matching says what the rules made of an event.
function matching(t) {
  const matched = new Set(t.deliveries.map((d) => d.rule)).size;
  if (!t.routed) return moment('wait', null, 'Not routed yet: the rules have not seen it');
  if (t.forgotten && matched === 0) return moment('plain', null, 'Its timeline went with the bus’s retention');
  if (matched === 0) return moment('plain', null, 'No rule matched, or what it matched was purged; below is what each rule says of it');
  const [first] = t.deliveries.map((d) => d.queued).filter(Boolean).sort();
  return moment('good', first, `${many(matched, 'rule')} matched, for ${many(t.deliveries.length, 'delivery', 'deliveries')}`);
}

// moment is one line of a timeline, with its look and time.
function moment(kind, at, ...words) {
  return h('li', { class: kind }, at && h('span', { class: 'at' }, time(at, true)), words);
}

function showDelivery(d, t, ev, acting) {
  const [target] = d.target.split('/');
  const redrive = acting(async () => {
    const done = await post(path('subscriptions', d.rule, target) + '/deadletters/redrive', { ids: [d.id] }, consumerOf(d.target));
    say(done.count === 1 ? 'It is queued again.' : 'It was no dead letter any more.');
  });
  const version = (t.rules ?? []).find((r) => r.rule === d.rule && r.version === d.ruleVersion);
  return h('article', { class: 'panel delivery', 'data-key': d.id },
    h('header', {},
      h('h3', {}, d.rule ? link(to.rule(d.rule), d.rule) : 'a rule that is not known any more', ' → ', link(to.target(target), d.target)),
      state(d.state), d.rule && link(to.subscription(d.rule, d.target), 'Subscription'), d.state === 'dead' && button('Redrive', redrive)),
    h('ol', { class: 'timeline' }, began(d), tries(d), ended(d, t)),
    d.transformed && showTransform(d.transformed, t.event ?? ev),
    version && h('details', { 'data-key': 'rule' },
      h('summary', {}, `The rule as it was: version ${version.version}${version.current ? ', in force' : ''}`), block(version.definition)));
}

// began says how a delivery came to be.
function began(d) {
  if (d.replay) {
    return moment('plain', d.queued, 'Queued by ', d.replay.seek ? 'a seek, ' : 'replay ', link(to.replay(d.replay.id), d.replay.name || d.replay.id));
  }
  return d.queued && moment('good', d.queued, 'Matched', d.ruleVersion > 0 && ` by version ${d.ruleVersion} of the rule`,
    d.ruleChanged && ', which has changed since', ', and queued');
}

// tries are the attempts of a delivery, those in the middle of many folded, and
// the deaths that it was redriven from.
function tries(d) {
  const lines = [];
  const folded = [];
  d.attempts.forEach((a, i) => {
    const last = i === d.attempts.length - 1;
    const middle = d.attempts.length > attemptsShown + 2 && i >= 2 && i < d.attempts.length - attemptsShown + 2;
    if (middle && !a.died && !a.replyDropped) {
      if (folded.length === 0) lines.push(folded);
      folded.push(showAttempt(a));
      return;
    }
    lines.push(showAttempt(a));
    if (a.replyDropped) lines.push(moment('warn', null, 'The reply was dropped: ', a.replyDropped));
    if (a.died) lines.push(moment('bad', a.died, 'Became a dead letter', a.diedOf && `: ${a.diedOf}`));
    if (a.died && (!last || d.state !== 'dead') && d.state !== 'unknown') {
      lines.push(moment('plain', null, 'Redriven: it was queued again with a fresh budget of attempts'));
    }
  });
  return lines.map((line) => (line === folded ? h('li', { class: 'bad', 'data-key': 'folded' }, h('details', {},
    h('summary', {}, `${many(folded.length, 'more attempt')} between these`), h('ol', { class: 'timeline' }, folded))) : line));
}

// ended says how a delivery ended, or what it waits for.
function ended(d, t) {
  const left = d.nextAttempt ? new Date(d.nextAttempt) - Date.now() : 0;
  switch (d.state) {
    case 'queued':
    case 'retrying':
      if (left > 0) return moment('wait', null, `Next attempt in ${span(Math.max(left, 1000))}`, d.reason && `: ${d.reason}`);
      if (d.reason) return moment('wait', null, `Waits: ${d.reason}`);
      return moment('wait', null, 'Waits for its turn; ', link(to.subscription(d.rule, d.target), 'its subscription'), ' says whether it is paused');
    case 'in flight':
      return moment('wait', null, 'An attempt is under way');
    case 'delivered': {
      const took = span(new Date(d.settled) - new Date(d.replay ? d.queued : t.received));
      return moment('good', d.settled, 'Delivered', d.settled && `, ${took} after ${d.replay ? 'it was queued' : 'the event was received'}`);
    }
    case 'dead':
      return !d.attempts.at(-1)?.died && moment('bad', d.settled, 'Became a dead letter', d.reason && `: ${d.reason}`);
    case 'expired':
      return moment('warn', d.settled, 'Expired before it was delivered');
    default:
      return moment('plain', null, 'How it ended is not known: it had not ended when its timeline was archived');
  }
}

// consumerOf is the query for a consumer of a broadcast.
const consumerOf = (target) => (target.includes('/') ? { consumer: target.slice(target.indexOf('/') + 1) } : undefined);

function showTransform(x, before) {
  if (x.error) return h('p', { class: 'bad-text' }, 'The transform fails: ', x.error);
  if (!x.event) return h('p', { class: 'note' }, x.note);
  if (JSON.stringify(x.event) === JSON.stringify(before)) return h('p', { class: 'note' }, x.note ? `Sent as it is: ${x.note}.` : 'Sent as it is.');
  return h('details', { 'data-key': 'transform' }, h('summary', {}, 'Before and after the transform'),
    x.note && h('p', { class: 'note' }, x.note),
    h('div', { class: 'two' }, h('div', {}, h('p', { class: 'note' }, 'Before'), block(before)),
      h('div', {}, h('p', { class: 'note' }, 'After; what is new is marked'), after(x.event, before))));
}

const waits = {
  breaker: 'the circuit breaker was open', 'retry-after': 'the receiver had asked for a pause', rate: 'the target’s rate was reached',
  order: 'one before it had to be settled first', concurrency: 'as many attempts as allowed were under way', backoff: 'the schedule of retries',
};

const triggers = { first: '', retry: ', a retry', redrive: ', after a redrive', replay: ', of a replay' };

// showAttempt says in words what an attempt did.
export function showAttempt(a, ...more) {
  const steps = [['looking up the name', a.phases?.dns], ['connecting', a.phases?.connect], ['TLS', a.phases?.tls], ['first byte after', a.phases?.firstByte]];
  const about = [
    ['It waited first, for', waits[a.waited] ?? a.waited],
    ['To', a.address],
    ['Kind of failure', a.class],
    ['Took', steps.filter(([, took]) => took).map(([what, took]) => `${what} ${duration(took)}`).join(', ')],
    ['Rule version', a.ruleVersion],
    ['Tried again', a.nextAttempt && time(a.nextAttempt, true)],
  ];
  const headers = (title, list) => list && [h('p', { class: 'note' }, title), block(Object.entries(list).map(([k, v]) => `${k}: ${v}`).join('\n'))];
  const deep = a.response || a.requestHeaders || a.responseHeaders || about.some(([, v]) => v);
  return h('li', { class: a.error ? 'bad' : 'good', 'data-key': `${a.trigger}-${a.number}-${a.started}` },
    h('span', { class: 'at' }, time(a.started, true)), `Attempt ${a.number}${triggers[a.trigger] ?? ''}: `,
    a.error ? h('span', { class: 'bad-text' }, a.error) : h('span', { class: 'good-text' }, a.status ? `accepted with ${a.status}` : 'accepted'),
    ` in ${duration(a.duration)}`, more,
    deep && h('details', { 'data-key': 'more' }, h('summary', {}, 'More'), facts(about),
      a.response && [h('p', { class: 'note' }, 'The start of the answer'), block(a.response)],
      headers('Headers that were sent, without secrets', a.requestHeaders), headers('Headers of the answer', a.responseHeaders)));
}

const outcomes = { true: ['good', 'holds'], false: ['plain', 'does not hold'], failed: ['bad', 'fails'] };

const conditions = [
  ['Condition', (c) => [h('code', {}, c.condition), c.decides && h('strong', {}, ' decides')]],
  ['Value it saw', (c) => c.value || '–', 'mono'],
  ['Outcome', (c) => badge(...(outcomes[c.outcome] ?? ['plain', c.outcome]))],
  ['In words', (c) => [c.note, c.notNeeded && ' (not needed)']],
];

// showExplanation lists the conditions of a filter with the values they saw.
export const showExplanation = (x) => [x.conditions.length > 0 && table(conditions, x.conditions, (c) => c.condition),
  x.more > 0 && h('p', { class: 'note' }, `And ${many(x.more, 'condition')} more.`)];

// showVerdict says whether a rule matches, and why.
export function showVerdict(name, matched, x, open) {
  return h('div', { class: 'verdict', 'data-key': `verdict-${name}` },
    h('div', { class: 'line1' }, name && link(to.rule(name), name), state(matched ? 'matches' : 'does not match'), h('span', {}, x.summary)),
    x.conditions.length > 0 && h('details', { open }, h('summary', {}, many(x.conditions.length + (x.more ?? 0), 'condition')), showExplanation(x)));
}

async function showRules(section, { where, names, query, signal }) {
  section.append(h('h2', {}, 'Why did a rule match, or not?'));
  if (names.length === 0) {
    section.append(empty('This bus has no rules yet.', link('#/rules', 'How to define one')));
    return;
  }
  const answers = h('div', { class: 'panel', hidden: true });
  const explain = async (rule) => {
    answers.hidden = false;
    fill(answers, h('p', { class: 'loading' }, 'Asking the rules…'));
    try {
      const t = await get(where + '/trace', { explain: rule }, signal);
      fill(answers, t.explained.map((x) => showVerdict(x.rule, x.matched, x.explanation, rule !== '*')),
        rule === '*' && names.length > t.explained.length
          && h('p', { class: 'note' }, `The first ${t.explained.length} of ${names.length} rules; name another above.`));
    } catch (err) {
      if (err.name !== 'AbortError') fill(answers, problem(err));
    }
  };
  section.append(h('p', { class: 'note' }, 'As the rules are now.'));
  if (names.length > explainedAtOnce) {
    const input = h('input', { list: 'rule-names', id: 'rule-name', value: query.get('explain') ?? '', autocomplete: 'off' });
    section.append(h('form', { class: 'actions', onsubmit: (e) => { e.preventDefault(); explain(input.value.trim() || '*'); } },
      h('label', { for: 'rule-name' }, 'Rule'), input, h('datalist', { id: 'rule-names' }, names.map((n) => h('option', { value: n }))),
      h('button', {}, 'Explain'), button('Explain the first 100', () => explain('*'))));
  }
  section.append(answers);
  if (query.get('explain')) await explain(query.get('explain'));
  else if (names.length <= explainedAtOnce) await explain('*');
}
