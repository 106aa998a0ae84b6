-- What speaks of an instance or of an answer that is taken out; also what foreign keys look for when it goes.
CREATE INDEX delivery_instance ON delivery (instance_pk);
CREATE INDEX wanted_answer_instance ON wanted_answer (instance_pk);
CREATE INDEX wanted_answer_anchor ON wanted_answer (anchor_instance_pk);
CREATE INDEX wanted_answer_result ON wanted_answer (result_set_code);
CREATE INDEX explanation_query ON explanation (query_instance_pk);
CREATE INDEX explanation_hit ON explanation (hit_instance_pk);
CREATE INDEX relevance_feedback_query ON relevance_feedback (query_instance_pk);
CREATE INDEX relevance_feedback_hit ON relevance_feedback (hit_instance_pk);
CREATE INDEX result_set_hit ON result_set USING gin (jsonb_path_query_array(hits, '$[*].instance_pk') jsonb_path_ops);

-- What a claim gives up, among all that waits: next to nothing.
CREATE INDEX analysis_hopeless ON analysis (model_pk) WHERE attempts >= 5 AND state IN ('waiting', 'indexing');
