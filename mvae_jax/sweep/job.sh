#!/bin/bash
#SBATCH --job-name=mvae_jax
#SBATCH --array=0-{{ number - 1 }}{{ "%%%d" % args.at_once if args.at_once }}
#SBATCH --output={{ logs }}/slurm-%A_%a.txt
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@{{ args.save_seconds }}
{% for name, value in options %}
#SBATCH --{{ name.replace("_", "-") }}={{ value }}
{% endfor %}
{% if args.tasks_per_run > 1 %}
#SBATCH --ntasks={{ args.tasks_per_run }}
{% endif %}
{% for module in args.modules.split(",") if module %}
module load {{ module }}
{% endfor %}
{{ args.setup }}
command=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {{ commands }})
srun --ntasks={{ args.tasks_per_run }} --kill-on-bad-exit=0{{ " --cpus-per-task=%s" % args.cpus_per_task if args.cpus_per_task }} bash -c "exec $command" &
trap 'kill -USR1 $!' USR1 TERM
while true; do  # a trap ends `wait` before the run has ended
  wait $!
  status=$?
  kill -0 $! 2>/dev/null || break
done
# 130: the state is saved; 138 and 143: the signal came before or after the training, and killed it.
# A job that somebody cancelled does not come back.
job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
if [[ $status =~ ^1(30|38|43)$ ]] && scontrol show job "$job" | grep -q JobState=RUNNING; then
  scontrol requeue "$job"
  sleep 60  # until SLURM has ended this one
fi
exit $status
