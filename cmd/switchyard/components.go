package main

import (
	"github.com/switchyard-dev/switchyard/configs"
	"github.com/switchyard-dev/switchyard/sources"
	"github.com/switchyard-dev/switchyard/sources/cron"
	natssource "github.com/switchyard-dev/switchyard/sources/nats"
	"github.com/switchyard-dev/switchyard/sources/webhook"
	"github.com/switchyard-dev/switchyard/targets"
	bustarget "github.com/switchyard-dev/switchyard/targets/bus"
	"github.com/switchyard-dev/switchyard/targets/function"
	httptarget "github.com/switchyard-dev/switchyard/targets/http"
	logtarget "github.com/switchyard-dev/switchyard/targets/log"
	natstarget "github.com/switchyard-dev/switchyard/targets/nats"
	"github.com/switchyard-dev/switchyard/targets/pull"
)

// components lists every kind of source and target. A new kind is one line
// here.
func components() configs.Kinds {
	return configs.Kinds{
		Sources: []sources.Spec{
			cron.Spec(),
			natssource.Spec(),
			webhook.Spec(),
		},
		Targets: []targets.Spec{
			bustarget.Spec(),
			function.Spec(),
			httptarget.Spec(),
			logtarget.Spec(),
			natstarget.Spec(),
			pull.Spec(),
		},
	}
}
