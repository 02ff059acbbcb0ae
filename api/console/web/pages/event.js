// One event: what it is, what happened to it, and why rules match it or not.
import { h, fill, link, problem, say, ask, act, empty } from '../dom.js';
import { get, post, all, every, path, address } from '../api.js';
import { time, state, to, many, duration, span } from '../words.js';
import { block, after } from '../json.js';

// explainedAtOnce is up to how many rules a bus may have to be explained unasked.
const explainedAtOnce = 30;

export default async function event({ main, params: [bus, seq], query, signal }) {
  const where = path('buses', bus, 'events', seq);
  const failures = h('div');
  const attributes = h('section', { 'aria-label': 'Attributes' });
  const timeline = h('section', { 'aria-label': 'Timeline' }, h('p', { class: 'loading' }, 'Reading what happened…'));
  const why = h('section', { 'aria-label': 'Rules' });
  const title = h('h1', {}, `${bus} #${seq}`);
  const lead = h('p', { class: 'lead' });
  const replayButton = h('button', { type: 'button', disabled: true }, 'Replay to a rule…');
  const n = /^\d{1,15}$/.test(seq) ? Number(seq) : 0;
  main.append(h('p', { class: 'crumbs' }, link(to.events(bus), `Events of ${bus}`)),
    h('div', { class: 'head' }, h('div', {}, title, lead), h('div', { class: 'actions' },
      n > 1 && link(to.event(bus, n - 1), '← Before'), n > 0 && link(to.event(bus, n + 1), 'Next →'), replayButton)),
    failures, timeline, attributes, why);

  const ev = await get(where, {}, signal);
  title.textContent = ev.type;
  lead.append(`${bus} #${seq}`, ev.subject ? ` · subject ${ev.subject}` : '', ` · source ${ev.source}`);
  showEvent(attributes, ev, address(where));

  const names = (await all('v1/rules', {}, signal)).items.filter((r) => (r.bus || 'default') === bus).map((r) => r.name);
  const refresh = every(3000, signal, async () => {
    const trace = await get(where + '/trace', { rules: true, transforms: true }, signal);
    fill(failures);
    fill(timeline, h('h2', {}, 'What happened'), showTimeline(trace, ev, (work) => async (e) => {
      await act(e.currentTarget, failures, work);
      refresh();
    }));
  }, (err) => fill(failures, problem(err)));

  replayButton.disabled = names.length === 0;
  replayButton.onclick = () => chooseRule(names, async (name) => {
    if (!await ask({ title: `Replay to ${name}?`, body: `If rule ${name} matches this event now, it is delivered to the rule's targets once more, marked as a replay. A receiver that took it before gets it again.`, confirm: 'Replay' })) return;
    await act(replayButton, failures, async () => {
      const started = await post(path('buses', bus, 'replay'), { from: Number(seq), to: Number(seq), rules: [name] });
      say(`Replay ${started.id} has begun.`);
      refresh();
    });
  });
  await showRules(why, { where, names, query, signal });
}

// chooseRule lets the reader pick one of the names.
async function chooseRule(names, chosen) {
  const select = h('select', { id: 'choose-rule' }, names.map((n) => h('option', { value: n }, n)));
  if (await ask({ title: 'Replay to a rule', body: [h('label', { for: 'choose-rule' }, 'The rule to deliver it for '), select], confirm: 'Go on' })) await chosen(select.value);
}

function showEvent(section, ev, raw) {
  const own = new Set(['data', 'data_base64']);
  const order = ['id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema', 'specversion'];
  const rank = (name) => (order.indexOf(name) + 1 || order.length + 1);
  const rows = Object.keys(ev).filter((k) => !own.has(k)).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  fill(section, h('h2', {}, 'The event'),
    h('div', { class: 'two' },
      h('div', { class: 'panel' }, h('dl', {}, rows.map((k) => [h('dt', {}, k), h('dd', {}, String(ev[k]))]))),
      h('div', { class: 'panel' }, h('h3', {}, 'Data'),
        'data' in ev ? block(ev.data, { raw })
          : 'data_base64' in ev ? [h('p', { class: 'note' }, 'Bytes, in base64:'), block(ev.data_base64, { raw })]
            : h('p', { class: 'soft' }, 'It has no data.'),
        h('p', { class: 'note' }, h('a', { href: raw }, 'The event as JSON')))));
}

// cameFrom says in words who brought an event.
function cameFrom(t) {
  const o = t.origin;
  const of = o.from && [' made of ', o.from.bus ? link(to.event(o.from.bus, o.from.sequence), `${o.from.bus} #${o.from.sequence}`) : `#${o.from.sequence} of a bus that is gone`];
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

function showTimeline(t, ev, acting) {
  const first = [];
  if (t.origin.accepted && t.origin.due) {
    first.push(moment('good', t.origin.accepted, 'Acknowledged, scheduled for ', time(t.origin.due)));
  }
  first.push(moment('good', t.received, cameFrom(t), `, stored as #${t.sequence} of ${t.bus}`, t.origin.transaction && `, committed with ${t.origin.transaction}`));
  const matched = new Set(t.deliveries.map((d) => d.rule)).size;
  if (!t.routed) first.push(moment('wait', null, 'Not routed yet: the rules have not seen it'));
  else if (t.archived) first.push(moment('plain', null, 'Read from the archive; its timeline went with the bus’s own retention'));
  else if (t.forgotten && matched === 0) first.push(moment('plain', null, 'Its timeline went with the bus’s retention'));
  else if (matched === 0) first.push(moment('plain', null, 'No rule matched, or what it matched was purged; below is what each rule says of it'));
  else first.push(moment('good', t.deliveries[0].queued, `${many(matched, 'rule')} matched, for ${many(t.deliveries.length, 'delivery', 'deliveries')}`));
  for (const f of t.failedFilters ?? []) first.push(moment('warn', null, 'Rule ', link(to.rule(f.rule), f.rule), ' does not match, for its filter fails: ', h('span', { class: 'mono' }, f.error)));
  return [h('ol', { class: 'timeline panel' }, first), t.deliveries.map((d) => showDelivery(d, t, ev, acting))];
}

function moment(kind, at, ...words) {
  return h('li', { class: kind }, at && h('span', { class: 'at' }, time(at, true)), words);
}

// attemptsShown is how many attempts of a delivery are shown unfolded.
const attemptsShown = 5;

function showDelivery(d, t, ev, acting) {
  const steps = [];
  const [target] = d.target.split('/');
  if (d.replay) {
    steps.push(moment('plain', d.queued, 'Queued by ', d.replay.seek ? 'a seek, ' : 'replay ', link(to.replay(d.replay.id), d.replay.name || d.replay.id)));
  } else if (d.queued) {
    steps.push(moment('good', d.queued, 'Matched', d.ruleVersion > 0 && ` by version ${d.ruleVersion} of the rule`, d.ruleChanged && ', which has changed since', ', and queued'));
  }
  const folded = [];
  d.attempts.forEach((a, i) => {
    if (d.attempts.length > attemptsShown + 2 && i >= 2 && i < d.attempts.length - attemptsShown + 2 && !a.died && !a.replyDropped) {
      folded.push(showAttempt(a));
      if (folded.length === 1) steps.push(folded);
      return;
    }
    steps.push(showAttempt(a));
    if (a.replyDropped) steps.push(moment('warn', null, 'The reply was dropped: ', a.replyDropped));
    const last = i === d.attempts.length - 1;
    if (a.died) steps.push(moment('bad', a.died, 'Became a dead letter', a.diedOf && `: ${a.diedOf}`));
    if (a.died && (!last || d.state !== 'dead') && d.state !== 'unknown') steps.push(moment('plain', null, 'Redriven: it was queued again with a fresh budget of attempts'));
  });
  if (folded.length > 0) {
    steps[steps.indexOf(folded)] = h('li', { class: 'bad', 'data-key': 'folded' }, h('details', { 'data-key': 'folded' },
      h('summary', {}, `${many(folded.length, 'more attempt')}, all between these`), h('ol', { class: 'timeline' }, folded.slice())));
  }
  const left = d.nextAttempt ? new Date(d.nextAttempt) - Date.now() : 0;
  if (d.state === 'queued' || d.state === 'retrying') {
    steps.push(moment('wait', null, left > 0 ? ['Next attempt in ', span(Math.max(left, 1000)), d.reason ? `: ${d.reason}` : '']
      : d.reason ? `Waits: ${d.reason}` : ['Waits for its turn; ', link(to.subscription(d.rule, d.target), 'its subscription'), ' says whether it is paused']));
  }
  if (d.state === 'in flight') steps.push(moment('wait', null, 'An attempt is under way'));
  if (d.state === 'dead' && !d.attempts.at(-1)?.died) steps.push(moment('bad', d.settled, 'Became a dead letter', d.reason && `: ${d.reason}`));
  if (d.state === 'delivered') steps.push(moment('good', d.settled, 'Delivered', d.settled && `, ${span(new Date(d.settled) - new Date(t.received))} after the event was received`));
  if (d.state === 'expired') steps.push(moment('warn', d.settled, 'Expired before it was delivered'));
  if (d.state === 'unknown') steps.push(moment('plain', null, 'How it ended is not known: it had not ended when its timeline was archived'));
  const version = (t.rules ?? []).find((r) => r.rule === d.rule && r.version === d.ruleVersion);
  return h('article', { class: 'panel delivery', 'data-key': d.id },
    h('header', {},
      h('h3', {}, d.rule ? link(to.rule(d.rule), d.rule) : 'a rule that is not known any more', ' → ', link(to.target(target), d.target)),
      state(d.state), d.rule && link(to.subscription(d.rule, d.target), 'Subscription'),
      d.state === 'dead' && h('button', {
        type: 'button', onclick: acting(async () => {
          const done = await post(path('subscriptions', d.rule, target) + '/deadletters/redrive', { ids: [d.id] }, consumerOf(d.target));
          say(done.count === 1 ? 'It is queued again.' : 'It was no dead letter any more.');
        }),
      }, 'Redrive')),
    h('ol', { class: 'timeline' }, steps),
    d.transformed && showTransform(d.transformed, t.event ?? ev),
    version && h('details', { 'data-key': 'rule' }, h('summary', {}, `The rule as it was: version ${version.version}${version.current ? ', in force' : ''}`), block(version.definition)));
}

// consumerOf is the query for a consumer of a broadcast.
const consumerOf = (target) => (target.includes('/') ? { consumer: target.slice(target.indexOf('/') + 1) } : undefined);

function showTransform(x, before) {
  if (x.error) return h('p', { class: 'bad-text' }, 'The transform fails: ', x.error);
  if (!x.event) return h('p', { class: 'note' }, x.note);
  if (JSON.stringify(x.event) === JSON.stringify(before)) return h('p', { class: 'note' }, x.note ? `Sent as it is: ${x.note}.` : 'Sent as it is.');
  return h('details', { 'data-key': 'transform' }, h('summary', {}, 'Before and after the transform'),
    x.note && h('p', { class: 'note' }, x.note),
    h('div', { class: 'two' }, h('div', {}, h('p', { class: 'note' }, 'Before'), block(before)), h('div', {}, h('p', { class: 'note' }, 'After; what is new is marked'), after(x.event, before))));
}

const waits = {
  breaker: 'the circuit breaker was open', 'retry-after': 'the receiver had asked for a pause', rate: 'the target’s rate was reached',
  order: 'one before it had to be settled first', concurrency: 'as many attempts as allowed were under way', backoff: 'the schedule of retries',
};

const triggers = { first: '', retry: ', a retry', redrive: ', after a redrive', replay: ', of a replay' };

// showAttempt says in words what an attempt did.
export function showAttempt(a, ...more) {
  const ok = !a.error;
  const phases = a.phases && [['looking up the name', a.phases.dns], ['connecting', a.phases.connect], ['TLS', a.phases.tls], ['first byte after', a.phases.firstByte]].filter(([, took]) => took);
  const facts = [
    a.waited && ['It waited first, for', waits[a.waited] ?? a.waited],
    a.address && ['To', a.address],
    a.class && ['Kind of failure', a.class],
    phases?.length > 0 && ['Took', phases.map(([what, took]) => `${what} ${duration(took)}`).join(', ')],
    a.ruleVersion > 0 && ['Rule version', a.ruleVersion],
    a.nextAttempt && ['Tried again', time(a.nextAttempt, true)],
  ].filter(Boolean);
  const headers = (title, list) => list && [h('p', { class: 'note' }, title), block(Object.entries(list).map(([k, v]) => `${k}: ${v}`).join('\n'))];
  const deep = facts.length > 0 || a.response || a.requestHeaders || a.responseHeaders;
  return h('li', { class: ok ? 'good' : 'bad', 'data-key': `${a.trigger}-${a.number}-${a.started}` },
    h('span', { class: 'at' }, time(a.started, true)), `Attempt ${a.number}${triggers[a.trigger] ?? ''}: `,
    ok ? h('span', { class: 'good-text' }, a.status ? `accepted with ${a.status}` : 'accepted') : h('span', { class: 'bad-text' }, a.error),
    ` in ${duration(a.duration)}`, more,
    deep && h('details', { 'data-key': 'more' }, h('summary', {}, 'More'),
      facts.length > 0 && h('dl', {}, facts.map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)])),
      a.response && [h('p', { class: 'note' }, 'The start of the answer'), block(a.response)],
      headers('Headers that were sent, without secrets', a.requestHeaders), headers('Headers of the answer', a.responseHeaders)));
}

const outcomes = { true: 'holds', false: 'does not hold', failed: 'fails', 'not evaluated': 'not evaluated' };

// showExplanation lists the conditions of a filter with the values they saw.
export function showExplanation(x) {
  return [x.conditions.length > 0 && h('div', { class: 'scroll' }, h('table', { class: 'cards' },
    h('thead', {}, h('tr', {}, ['Condition', 'Value it saw', 'Outcome', 'In words'].map((c) => h('th', { scope: 'col' }, c)))),
    h('tbody', {}, x.conditions.map((c) => h('tr', {},
      h('td', {}, h('code', {}, c.condition), c.decides && h('strong', {}, ' decides')),
      h('td', { class: 'mono', 'data-label': 'Value it saw' }, c.value || '–'),
      h('td', { 'data-label': 'Outcome' }, h('span', { class: `state ${{ true: 'good', false: 'plain', failed: 'bad' }[c.outcome] ?? 'plain'}` }, outcomes[c.outcome] ?? c.outcome)),
      h('td', { 'data-label': 'In words' }, c.note, c.notNeeded && ' (not needed)')))))),
  x.more > 0 && h('p', { class: 'note' }, `And ${many(x.more, 'condition')} more.`)];
}

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
        rule === '*' && names.length > t.explained.length && h('p', { class: 'note' }, `The first ${t.explained.length} of ${names.length} rules; name another above.`));
    } catch (err) {
      if (err.name !== 'AbortError') fill(answers, problem(err));
    }
  };
  section.append(h('p', { class: 'note' }, 'As the rules are now.'));
  if (names.length > explainedAtOnce) {
    const input = h('input', { list: 'rule-names', id: 'rule-name', value: query.get('explain') ?? '', autocomplete: 'off' });
    section.append(h('form', { class: 'actions', onsubmit: (e) => { e.preventDefault(); explain(input.value.trim() || '*'); } },
      h('label', { for: 'rule-name' }, 'Rule'), input, h('datalist', { id: 'rule-names' }, names.map((n) => h('option', { value: n }))),
      h('button', {}, 'Explain'), h('button', { type: 'button', onclick: () => explain('*') }, 'Explain the first 100')));
  }
  section.append(answers);
  if (query.get('explain')) await explain(query.get('explain'));
  else if (names.length <= explainedAtOnce) await explain('*');
}
